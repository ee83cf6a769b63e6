"""`--hermes-url`: what the commands make of a second source of prices."""

import time
from asyncio import StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.chain_fixture import Chain, Desk, chain
from tests.oracle.hermes_bodies import body, entry
from tests.oracle.hermes_server import Request, Server, hermes_beside, http, refusing

KEY = "Key-0123456789-SECRET"


@pytest.fixture(scope="module")
def fallen() -> Iterator[Chain]:
    """SOL fell by 1 %: three positions are liquidatable."""
    with chain() as running:
        running.price("SOL", 990_000)
        yield running


@pytest.fixture
def desk(fallen: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=fallen)


@contextmanager
def service(desk: Desk, factor: float) -> Iterator[Server]:
    """Hermes with a price of SOL that many times that of the chain, at the time of this host."""
    told = desk.run("explain", worst(desk), "--json").json
    feed = next(one["fields"]["feed_id"] for one in told["inputs"] if one["role"] == "price")
    price = str(int(told["sources"][0]["price_e6"] * 100 * factor))

    async def latest(request: Request, writer: StreamWriter) -> None:
        known = [entry(feed, price=price, published=int(time.time()))]
        writer.write(http(body(*known) if feed in request.ids else body()))

    with hermes_beside() as server:
        server.latest = latest
        yield server


def worst(desk: Desk) -> str:
    return str(desk.run("scan", "-n", "--json").json["liquidatable"][0]["position"])


def test_a_scan_counts_what_nothing_is_sent_for_and_why(desk):
    with service(desk, 1.05) as server:
        told = desk.run("scan", "-n", "--json", "--hermes-url", server.url)
        shown = desk.run("scan", "-n", "--hermes-url", server.url)

    count = len(told.json["liquidatable"])
    assert told.json["blocked"] == {"price_sources_disagree": count}
    assert all(one["blockers"] == ["price_sources_disagree"] for one in told.json["liquidatable"])
    assert f"of these nothing is sent for {count} price_sources_disagree" in shown.out
    assert "blocked" not in desk.run("scan", "-n", "--json").json


def test_nothing_is_liquidated_by_hand_while_the_sources_disagree(desk):
    position = worst(desk)
    with service(desk, 1.05) as server:
        done = desk.run("liquidate", position, "-y", "-k", desk.key, "--hermes-url", server.url)

    assert done.code == 7
    assert "price_sources_disagree: the sources of the price are further apart" in done.err


def test_every_source_is_explained(desk):
    position = worst(desk)
    with service(desk, 1.05) as server:
        told = desk.run("explain", position, "--json", "--hermes-url", server.url).json
        lines = desk.run("explain", position, "--hermes-url", server.url).out.splitlines()

    assert [one["source"] for one in told["sources"]] == ["price_update", "hermes"]
    assert told["doubt"] == "price_sources_disagree"
    own, beside = (one["price_e6"] for one in told["sources"])
    assert beside == int(own * 1.05)
    assert any(line.startswith("source hermes ") for line in lines)
    assert any(line.startswith("left alone ") for line in lines)


def test_a_position_that_may_go_has_no_doubt_against_it(desk):
    told = desk.run("explain", worst(desk), "--json").json
    lines = desk.run("explain", worst(desk)).out

    assert (len(told["sources"]), told["doubt"]) == (1, None)
    assert "left alone" not in lines
    assert "source price update" not in lines


def doctor(desk: Desk, *options: object) -> dict[str, str]:
    told = desk.run("doctor", "--json", "-k", desk.key, *options).json
    [found] = [one for one in told["checks"] if one["name"] == "hermes"]
    return dict(found)


def test_the_doctor_asks_the_service_for_the_feeds_of_the_markets(desk):
    with hermes_beside() as server:
        found = doctor(desk, "--hermes-url", server.url)

    assert (found["state"], found["hint"]) == ("ok", "")
    assert found["found"].endswith("has 3 of 3 feeds")


def test_the_doctor_names_a_feed_that_the_service_does_not_know(desk):
    with service(desk, 1) as server:
        found = doctor(desk, "--hermes-url", server.url)
        asked = server.requests[0].ids

    assert found["state"] == "warn"
    assert found["found"].endswith("has 1 of 3 feeds")
    assert sum(feed in found["hint"] for feed in asked) == 2


def test_the_doctor_tells_a_wrong_key_and_shows_it_nowhere(desk):
    key = desk.place / "hermes.key"
    key.write_text(KEY)
    key.chmod(0o600)
    with hermes_beside() as server:
        server.latest = refusing("401 Unauthorized")
        done = desk.run(
            "doctor", "--json", "-k", desk.key, "--hermes-url", server.url,
            LIQCTL_HERMES_API_KEY_FILE=str(key),
        )  # fmt: skip
        sent = server.requests[0].headers["authorization"]

    [found] = [one for one in done.json["checks"] if one["name"] == "hermes"]
    assert (found["state"], sent) == ("fail", f"Bearer {KEY}")
    assert "refuses the API key" in found["found"]
    assert KEY not in done.out + done.err
    assert done.code == 1


def test_a_service_in_the_clear_is_for_this_host_alone(desk):
    done = desk.run("scan", "-n", "--hermes-url", "http://prices.example/hermes")

    assert done.code == 2
    assert "not encrypted" in done.err
