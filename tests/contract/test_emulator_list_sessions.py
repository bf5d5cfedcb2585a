"""GET /sessions: filters, both spellings of arrays and sort, paging, and the 404 of `ids`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]


def custom_ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [session["customId"] for session in answer.json()]


@pytest.fixture
def three(create: Create) -> list[str]:
    """Ids of the sessions a (pending), b (failed) and c (completed, production)."""
    return [
        create(customId="a").json()["id"],
        create(customId="b", status="FAILED").json()["id"],
        create(customId="c", status="COMPLETED", isProduction=True).json()["id"],
    ]


@pytest.mark.parametrize("name", ["customIds", "customIds[]", "customIds%5B%5D"])
def test_arrays_are_repeated_with_or_without_brackets(api: httpx.Client, three: list[str], name: str) -> None:
    assert custom_ids(api.get(f"/sessions?{name}=a&{name}=c&{name}=zzz&sort=createdAt,asc")) == ["a", "c"]


def test_arrays_may_be_numbered(api: httpx.Client, three: list[str]) -> None:
    assert custom_ids(api.get("/sessions?customIds[0]=a&customIds[1]=b&sort=createdAt,asc")) == ["a", "b"]


@pytest.mark.parametrize("sort", ["sort[]=createdAt&sort[]=desc", "sort=createdAt,desc", "sort=createdAt&sort=desc"])
def test_sort_has_two_spellings(api: httpx.Client, three: list[str], sort: str) -> None:
    assert custom_ids(api.get(f"/sessions?{sort}")) == ["c", "b", "a"]


@pytest.mark.parametrize("sort", ["sort=colour,asc", "sort=createdAt,up", "sort=", "sort=createdAt,asc,id"])
def test_an_invalid_sort_is_a_400(api: httpx.Client, sort: str) -> None:
    assert api.get(f"/sessions?{sort}").status_code == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "abc"),
        ("versionIds=ver_123", "abc"),
        ("versionIds=ver_other", ""),
        ("productIds[]=prod_123", "abc"),
        ("productIds=prod_other", ""),
        ("statuses=PENDING&statuses=FAILED", "ab"),
        ("userIds=user_123", "ab"),
        ("testCaseIds=tc_1", ""),
        ("testIds=", "abc"),
        ("testIds=test_1", ""),
        ("excludeTestIds=test_1", "abc"),
        ("commentLabels=__none__", "abc"),
        ("commentLabels=__any__", ""),
        ("fromCreatedAt=2020-01-01T00:00:00Z", "abc"),
        ("fromCreatedAt=2999-01-01T00:00:00Z", ""),
        ("toCreatedAt=2020-01-01", ""),
        ("versionIds=ver_123&statuses=FAILED&customIds=b", "b"),
        ("versionIds=ver_123&statuses=FAILED&customIds=a", ""),
        ("colour=blue", "abc"),
        ("limit=2", "ab"),
        ("limit=2&offset=2", "c"),
        ("offset=3", ""),
        ("limit=0", ""),
    ],
)
def test_filters_combine_with_and_and_never_404(api: httpx.Client, three: list[str], query: str, expected: str) -> None:
    assert custom_ids(api.get(f"/sessions?sort=createdAt,asc&{query}")) == list(expected)


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "offset=1.5", "statuses=DONE", "fromCreatedAt=today"])
def test_an_invalid_value_is_a_400(api: httpx.Client, query: str) -> None:
    assert api.get(f"/sessions?{query}").status_code == 400


def test_creation_times_are_inclusive_bounds(api: httpx.Client, create: Create) -> None:
    at = create(customId="a").json()["createdAt"]
    assert custom_ids(api.get("/sessions", params={"fromCreatedAt": at, "toCreatedAt": at})) == ["a"]


def test_ids_that_are_not_all_there_are_a_404(api: httpx.Client, three: list[str]) -> None:
    both = api.get("/sessions", params={"ids[]": three[:2]})
    one_missing = api.get("/sessions", params={"ids": [three[0], "session_x"]})
    two_missing = api.get("/sessions", params={"ids": ["session_x", "session_y"]})
    assert sorted(custom_ids(both)) == ["a", "b"]
    assert (one_missing.status_code, one_missing.json()) == (404, {"message": "Session session_x not found"})
    assert (two_missing.status_code, two_missing.json()) == (
        404,
        {"message": "Sessions not found: session_x, session_y"},
    )


def test_the_404_of_ids_counts_after_all_filters(api: httpx.Client, three: list[str]) -> None:
    assert api.get("/sessions", params={"ids": three[:2], "statuses": "FAILED"}).status_code == 404


def test_pages_cover_everything_once(api: httpx.Client, create: Create) -> None:
    for number in range(25):
        create(customId=f"{number:02d}")
    pages = [custom_ids(api.get(f"/sessions?sort=createdAt,asc&limit=10&offset={at}")) for at in (0, 10, 20)]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert sorted(chain(*pages)) == [f"{number:02d}" for number in range(25)]


def test_a_long_query_is_stopped_by_the_firewall_with_html(api: httpx.Client) -> None:
    answer = api.get("/sessions", params={"customIds": ["x" * 36] * 60})
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")


def test_limits_orders_and_lengths_are_options(emulator: RunningEmulator) -> None:
    options = {
        "default_limit": 2,
        "max_list_limit": 3,
        "over_list_limit": "clamp",
        "default_order": "oldest_first",
        "unknown_query": "refuse",
        "max_query_bytes": 40,
        "long_query_status": 414,
    }
    with running_emulator(options=options) as limited, client_of(limited) as api:
        for custom_id in "abcde":
            post_session(api, customId=custom_id)
        assert custom_ids(api.get("/sessions")) == ["a", "b"]
        assert custom_ids(api.get("/sessions?limit=10")) == ["a", "b", "c"]
        assert api.get("/sessions?colour=blue").status_code == 400
        assert api.get(f"/sessions?customIds={'x' * 40}").status_code == 414
