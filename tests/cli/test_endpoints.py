"""Several RPC endpoints on the command line: one may be down, none may be of another cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.chain_fixture import POSITIONS, Chain, Desk, chain, inside
from tests.cli.twisted_node import refusing, twisted

MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
DOWN = "http://127.0.0.1:1/KEYSECRET"


@pytest.fixture(scope="module")
def calm() -> Iterator[Chain]:
    with chain() as running:
        yield running


@pytest.fixture
def desk(calm: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=calm)


def test_a_scan_goes_on_through_the_fallback_when_the_first_endpoint_is_down(desk):
    there = desk.chain.ready["rpc_url"]

    done = inside(desk.place, "scan", "--json", "-n", "-u", DOWN, "--fallback-url", there)

    assert done.code == 0, done.err
    assert done.json["coverage"]["positions"] == POSITIONS
    assert "endpoint_not_checked" in done.err
    assert "SECRET" not in done.err


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("getProgramAccounts", refusing(-32010)),
        ("getMultipleAccounts", refusing(-32005)),
        ("getMultipleAccounts", {"result": {"context": {"slot": 1}, "value": []}}),
    ],
)
def test_a_scan_takes_from_the_fallback_what_the_first_endpoint_cannot_give(desk, method, answer):
    there = desk.chain.ready["rpc_url"]
    with twisted(desk.chain, **{method: answer}) as where:
        done = inside(desk.place, "scan", "--json", "-n", *where, "--fallback-url", there)

    assert done.code == 0, done.err
    assert done.json["coverage"]["evaluated"] == POSITIONS


@pytest.mark.parametrize("option", ["--fallback-url", "--send-url"])
def test_endpoints_of_two_clusters_are_refused_and_both_are_named(desk, option):
    first = desk.chain.ready["rpc_url"]
    with twisted(desk.chain, getGenesisHash={"result": MAINNET_GENESIS}) as (_, url, *_):
        done = desk.run("scan", "-n", option, f"{url}/KEYSECRET")

    assert done.code == 2
    assert f"{first}/... and {url}/... belong to different clusters" in done.err
    assert "SECRET" not in done.err


def test_when_all_are_down_the_first_one_is_named(desk):
    done = inside(desk.place, "scan", "-n", "-u", DOWN, "--fallback-url", "http://127.0.0.1:2")

    assert done.code == 4
    assert done.err.startswith("liqctl: no connection to http://127.0.0.1:1/...")


def test_an_embedded_chain_takes_no_further_endpoints(tmp_path):
    done = inside(tmp_path, "watch", "--localnet", "--fallback-url", DOWN)

    assert done.code == 2
    assert "leave out --fallback-url" in done.err
