"""The unmodified `galtea` SDK does all it can do with sessions, against the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from galtea import Galtea

from pipeline.emulator import RunningEmulator


@pytest.fixture
def galtea(emulator: RunningEmulator) -> Iterator[Galtea]:
    client = Galtea(api_key="gsk_sdk", base_url=emulator.url, suppress_updatable_version_message=True)
    yield client
    client.shutdown()
    client._Galtea__client.close()  # the SDK leaves its connections to the garbage collector


def test_products_and_versions_are_found(galtea: Galtea) -> None:
    assert galtea.products.get("prod_123").id == "prod_123"
    assert [product.id for product in galtea.products.list()] == ["prod_123"]
    created = galtea.versions.create(product_id="prod_123", name="beta")
    assert created is not None
    assert created.number == 2
    assert galtea.versions.get(created.id).name == "beta"
    assert {version.id for version in galtea.versions.list(product_id="prod_123")} == {"ver_123", created.id}


def test_a_session_lives_its_whole_life(galtea: Galtea) -> None:
    sessions = galtea.sessions
    created = sessions.create(
        version_id="ver_123", custom_id="sdk 1&2", context="hello", is_production=False, metadata={"a": 1}
    )
    assert (created.context, created.status, created.is_production) == ("hello", "PENDING", False)
    assert sessions.get(created.id).custom_id == "sdk 1&2"
    assert sessions.get_by_custom_id("sdk 1&2", version_id="ver_123").id == created.id
    assert sessions.get_by_custom_id("sdk 1&2", product_id="prod_123").id == created.id
    assert sessions.get_or_create("sdk 1&2", version_id="ver_123").id == created.id
    updated = sessions.update(created.id, metadata={"b": 2}, context="changed")
    assert (updated.metadata, updated.context) == ({"b": 2}, "changed")
    assert sessions.finish(created.id, stopping_reason="GOAL_ACHIEVED").status == "COMPLETED"
    sessions.delete(created.id)
    with pytest.raises(Exception, match="not found"):
        sessions.get(created.id)


def test_get_or_create_creates_what_is_missing_outside_production(galtea: Galtea) -> None:
    first = galtea.sessions.get_or_create("new", product_id="prod_123")
    assert first.is_production is False
    assert galtea.sessions.get_or_create("new", product_id="prod_123").id == first.id


def test_create_leaves_production_to_the_api(galtea: Galtea) -> None:
    assert galtea.sessions.create(version_id="ver_123").is_production is True
    assert galtea.sessions.create(version_id="ver_123", test_case_id="tc_1").is_production is False


def test_sessions_are_listed_by_filters_sorted_and_paged(galtea: Galtea) -> None:
    for custom_id in "abc":
        galtea.sessions.create(version_id="ver_123", custom_id=custom_id)

    def listed(**query: object) -> str:
        return "".join(str(session.custom_id) for session in galtea.sessions.list(**query))

    assert listed(version_id="ver_123", sort_by_created_at="asc") == "abc"
    assert listed(version_id=["ver_123"], sort_by_created_at="desc", limit=2) == "cb"
    assert listed(version_id="ver_123", sort_by_created_at="desc", limit=2, offset=2) == "a"
    assert listed(custom_id=["a", "c"], sort_by_created_at="asc") == "ac"
    assert listed(version_id="ver_123", status="pending", from_created_at=0, sort_by_created_at="asc") == "abc"
    assert listed(version_id="ver_123", status="FAILED") == ""
    with pytest.raises(Exception, match="Version ver_no not found"):
        listed(version_id="ver_no")


def test_a_duplicate_is_an_http_error_and_stores_nothing(galtea: Galtea, emulator: RunningEmulator) -> None:
    galtea.sessions.create(version_id="ver_123", custom_id="a")
    with pytest.raises(requests.HTTPError) as caught:
        galtea.sessions.create(version_id="ver_123", custom_id="a")
    assert caught.value.response is not None
    assert caught.value.response.status_code == 400
    assert len(emulator.sessions()) == 1
