"""Look-ups of versions and products, and what exists from the start."""

from __future__ import annotations

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import running_emulator


def test_a_product_and_a_version_exist_from_the_start(api: httpx.Client) -> None:
    version = api.get("/versions/ver_123").json()
    product = api.get("/products/prod_123").json()
    assert (version["productId"], version["number"], version["name"]) == ("prod_123", 1, "v1")
    assert product["organizationId"] == api.get("/organizations").json()[0]["id"]
    assert product["autoCloseScope"] == "ALL"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("productIds[]=prod_123", [3, 2, 1]),
        ("productIds=prod_123&sort=createdAt,asc", [1, 2, 3]),
        ("productIds=prod_x", []),
        ("names=beta", [2]),
        ("name=ET", [2]),
        ("ids=ver_123", [1]),
        ("limit=1&offset=1", [2]),
    ],
)
def test_versions_are_listed_by_filters(api: httpx.Client, query: str, numbers: list[int]) -> None:
    api.post("/versions", json={"productId": "prod_123", "name": "beta"})
    api.post("/versions", json={"productId": "prod_123"})
    assert [version["number"] for version in api.get(f"/versions?{query}").json()] == numbers


def test_an_unknown_version_is_a_404_with_a_message(api: httpx.Client) -> None:
    assert api.get("/versions/ver_x").json() == {"message": "Version ver_x not found"}
    assert api.get("/versions?ids[]=ver_x").json() == {"message": "Version ver_x not found"}


@pytest.mark.parametrize("name", ["v7", "V7", "v01", "v1"])
def test_version_names_of_v_and_digits_are_reserved(api: httpx.Client, name: str) -> None:
    assert api.post("/versions", json={"productId": "prod_123", "name": name}).status_code == 400


def test_a_version_name_is_unique_in_its_product(api: httpx.Client) -> None:
    assert api.post("/versions", json={"productId": "prod_123", "name": "beta"}).status_code == 201
    again = api.post("/versions", json={"productId": "prod_123", "name": "beta"})
    assert again.status_code == 400
    assert "with the same" in again.json()["message"]


def test_a_deleted_version_takes_no_sessions(api: httpx.Client) -> None:
    assert api.delete("/versions/ver_123").status_code == 204
    assert post_session(api).status_code == 404


def test_products_are_listed_by_filters(api: httpx.Client) -> None:
    created = api.post("/products", json={"name": "Bot", "description": "d", "tags": ["x"]}).json()
    for query in ("names=Bot", "name=bo", "tags=x", f"ids={created['id']}", "limit=1"):
        assert api.get(f"/products?{query}").json() == [created]
    assert api.get("/products?organizationIds=org_x").json() == []
    assert api.get("/products?ids=prod_x").status_code == 404
    assert api.post("/products", json={"name": "Bot", "description": "d"}).status_code == 400
    assert api.post("/products", json={"name": "No description"}).status_code == 400


def test_versions_and_products_that_were_asked_for_exist() -> None:
    with running_emulator(version_ids=["ver_mine"], product_ids=["prod_mine"]) as emulator, client_of(emulator) as api:
        version = api.get("/versions/ver_mine").json()
        assert version["number"] == 1
        assert api.get(f"/products/{version['productId']}").status_code == 200
        assert [one["number"] for one in api.get("/versions?productIds=prod_mine").json()] == [1]


def test_a_product_may_be_asked_for_without_version() -> None:
    started = running_emulator(product_ids=["prod_bare"], product_without_version=True)
    with started as emulator, client_of(emulator) as api:
        assert api.get("/versions?productIds=prod_bare").json() == []
        assert post_session(api, versionId=..., productId="prod_bare").status_code == 201
        assert [one["name"] for one in api.get("/versions?productIds=prod_bare").json()] == ["v1"]
