"""`/metrics`, read by Prometheus' own parsers, tells what the rest of the API tells."""

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from liqctl.core.events import Coverage
from liqctl.core.status import HermesStatus, Histogram, state_name
from liqctl.store.open import open_store
from liqctl.testing import ManualClock
from tests.core.statuses import SOL, status
from tests.promtool import needs_promtool, promtool
from tests.server.world import HUGE, NOW_MS, application, asking

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(families: list[Metric]) -> Samples:
    """Return every sample by its name and labels, each of which must be there once."""
    found: Samples = {}
    for family in families:
        for each in family.samples:
            key = (each.name, frozenset(each.labels.items()))
            assert key not in found
            found[key] = each.value
    return found


async def scraped(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return samples(list(text_format(answer.text)))


async def told(file: Path) -> Samples:
    async with asking(application(file)) as client:
        return await scraped(client)


def one(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def matching(found: Samples, name: str, **labels: str) -> list[float]:
    """Return the samples of a name that have these labels, among others perhaps."""
    wanted = labels.items()
    return [
        value
        for (each, has), value in found.items()
        if each == name and wanted <= dict(has).items()
    ]


def put_status(file: Path, **changed: object) -> None:
    """Write the state of a keeper as it does itself."""
    written = status(**changed)
    with closing(open_store(f"sqlite:{file}")) as store:
        body = json.dumps(written.as_json())
        store.put_state(state_name(written.venue), body, NOW_MS - 1_500)


async def test_the_record_is_what_stats_tells(client):
    stats = (await client.get("/stats")).json()
    found = await scraped(client)

    for market in stats["markets"]:
        of = {"venue": market["venue"], "symbol": market["symbol"]}
        for kind in ("full", "partial"):
            assert one(found, "liquidations_total", **of, kind=kind) == market[kind]
        assert one(found, "liqctl_rewards_total", **of) == market["rewards"]
        assert one(found, "liqctl_bad_debt_total", **of) == market["bad_debt"]
    totals = stats["totals"]
    assert one(found, "liqctl_fees_lamports_total") == totals["fees_lamports"]
    assert one(found, "liqctl_lost_races_total") == totals["lost_races"]
    for state, count in stats["attempts"].items():
        assert one(found, "liqctl_attempts", state=state) == count
    failed = {name: n for name, n in stats["failures"].items() if name != "lost_race"}
    assert sum(failed.values()) == totals["failed"]
    for name, count in failed.items():
        assert one(found, "failed_liquidations_total", **{"class": name}) == count


async def test_the_fund_is_what_the_api_tells(own_file):
    put_status(own_file, fund_balance=2 * HUGE)
    async with asking(application(own_file)) as client:
        balance = (await client.get("/insurance/balance")).json()["balance"]
        found = await scraped(client)

    assert one(found, "insurance_fund_balance", venue="reference") == float(balance)


async def test_a_keeper_is_told_in_seconds_and_by_its_venue(own_file):
    latency = Histogram(bounds=(1_000, 50_000), counts=(2, 5), count=6, sum=250_000)
    slots = Histogram(bounds=(1, 4), counts=(0, 1), count=1, sum=3)
    coverage = Coverage(positions=9, evaluated=6, unknown={"price_stale": 2, "overflow": 1})
    put_status(own_file, coverage=coverage, decision_us=latency, landing_slots=slots)

    found = await told(own_file)

    of = {"venue": "reference"}
    assert one(found, "positions_monitored", **of) == 9
    assert one(found, "liqctl_positions_evaluated", **of) == 6
    assert one(found, "liqctl_positions_not_evaluated", **of, reason="price_stale") == 2
    assert one(found, "liqctl_positions_not_evaluated", **of, reason="overflow") == 1
    assert one(found, "liqctl_state_age_seconds", **of) == 1.5
    seconds = "liquidation_latency_seconds"
    buckets = [one(found, f"{seconds}_bucket", **of, le=le) for le in ("0.001", "0.05", "+Inf")]
    assert buckets == [2, 5, 6]
    assert one(found, f"{seconds}_count", **of) == 6
    assert one(found, f"{seconds}_sum", **of) == 0.25
    assert one(found, "liqctl_landing_slots_bucket", **of, le="4.0") == 1


async def test_what_a_keeper_that_is_gone_has_told_grows_older(own_file):
    put_status(own_file, slot_age_ms=500, check_age_ms=2_000, snapshot_age_ms=None)
    clock = ManualClock(NOW_MS)

    async with asking(application(own_file, clock=clock)) as client:
        first = await scraped(client)
        await clock.advance(60)
        later = await scraped(client)

    for name, labels in (
        ("liqctl_state_age_seconds", {}),
        ("liqctl_slot_age_seconds", {}),
        ("liqctl_input_age_seconds", {"input": "check"}),
        ("liqctl_oracle_age_seconds", {"symbol": "SOL"}),
    ):
        of = {"venue": "reference", **labels}
        assert matching(later, name, **of) == [age + 60 for age in matching(first, name, **of)]
        assert matching(first, name, **of)
    assert matching(later, "liqctl_input_age_seconds", venue="reference", input="snapshot") == []


async def test_a_doubted_price_and_a_silent_price_service_are_told(own_file):
    doubted = replace(SOL, symbol="BTC", doubt="price_sources_disagree")
    hermes = HermesStatus(url="https://h", down="HTTP 503", prices_age_ms=None, counts={})
    put_status(own_file, markets=(SOL, doubted), hermes=hermes)

    found = await told(own_file)

    reasons = {key: value for key, value in found.items() if key[0] == "liqctl_price_doubted"}
    labels = {"venue": "reference", "symbol": "BTC", "reason": "price_sources_disagree"}
    assert reasons == {("liqctl_price_doubted", frozenset(labels.items())): 1}
    assert one(found, "liqctl_hermes_up", venue="reference") == 0


async def test_several_keepers_are_told_apart_and_an_unreadable_one_is_counted(own_file):
    put_status(
        own_file, venue="perpetuals", coverage=Coverage(positions=3, evaluated=3, unknown={})
    )
    with closing(open_store(f"sqlite:{own_file}")) as store:
        store.put_state(state_name("old"), '{"version": 0}', NOW_MS)

    found = await told(own_file)

    assert one(found, "positions_monitored", venue="reference") == 100
    assert one(found, "positions_monitored", venue="perpetuals") == 3
    assert one(found, "liqctl_keepers_unreadable") == 1


async def test_what_is_not_known_has_no_sample(own_file):
    blind = replace(SOL, price_e6=None, refusal="price_stale", doubt="price_stale")
    blind = replace(blind, age_s=None, confidence_bps=None)
    put_status(own_file, markets=(blind,), fund_balance=None, wallet=None, check_age_ms=None)

    found = await told(own_file)

    names = {name for name, _ in found}
    assert one(found, "liqctl_price_unusable", venue="reference", symbol="SOL") == 1
    assert not names & {
        *("liqctl_price", "liqctl_oracle_age_seconds", "liqctl_oracle_confidence_ratio"),
        *("insurance_fund_balance", "liqctl_wallet_lamports"),
        *("liqctl_price_doubted", "liqctl_hermes_up"),
    }
    assert (
        "liqctl_input_age_seconds",
        frozenset({("venue", "reference"), ("input", "check")}),
    ) not in found


async def test_what_has_not_happened_yet_is_zero_so_that_the_first_time_is_a_growth(own_file):
    put_status(own_file, markets=(replace(SOL, symbol="QUIET"),))

    found = await told(own_file)

    quiet = {"venue": "reference", "symbol": "QUIET"}
    assert one(found, "liquidations_total", **quiet, kind="full") == 0
    assert one(found, "failed_liquidations_total", **{"class": "rpc"}) == 0
    assert ("failed_liquidations_total", frozenset({("class", "lost_race")})) not in found


async def test_markets_of_one_name_do_not_make_the_answer_unreadable(own_file):
    put_status(own_file, markets=(SOL, replace(SOL, market="another", price_e6=1)))

    found = await told(own_file)

    assert one(found, "liqctl_price", venue="reference", symbol="SOL") == SOL.price_e6


async def test_a_database_that_cannot_be_read_is_told_and_no_error(tmp_path):
    found = await told(tmp_path / "none.db")

    assert one(found, "liqctl_up") == 0
    assert {name for name, _ in found} == {
        "liqctl_up",
        "liqctl_websocket_clients",
        "liqctl_websocket_events_total",
        "liqctl_websocket_slow_clients_total",
    }


async def test_the_names_of_the_contract_are_there_with_their_types(client):
    families = list(text_format((await client.get("/metrics")).text))

    found = {family.name: family.type for family in families}
    assert found["liquidations"] == found["failed_liquidations"] == "counter"
    assert found["liquidation_latency_seconds"] == "histogram"
    assert found["positions_monitored"] == found["insurance_fund_balance"] == "gauge"
    assert all(family.documentation for family in families)


async def test_open_metrics_come_to_who_asks_for_them(client):
    plain = await client.get("/metrics", headers={"accept": "text/plain"})
    asked = await client.get("/metrics", headers={"accept": OPEN_METRICS})

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert asked.headers["content-type"].startswith(OPEN_METRICS)
    assert asked.text.endswith("# EOF\n")
    assert samples(list(open_metrics(asked.text))) == samples(list(text_format(plain.text)))


@needs_promtool
async def test_promtool_finds_nothing_to_say(client):
    text = (await client.get("/metrics")).text

    said = await asyncio.get_running_loop().run_in_executor(
        None, partial(promtool, "check", "metrics", text=text)
    )

    assert said == (0, "")
