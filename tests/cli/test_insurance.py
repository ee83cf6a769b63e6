"""`liqctl insurance`: the fund of an embedded chain, its coverage, and its recorded past."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from solders.pubkey import Pubkey

from liqctl.core.fixed import U64_MAX
from liqctl.localnet.account import CLOSED, AccountState
from liqctl.localnet.scenario import Scenario, ScenarioConfig
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import Store, SystemClock
from liqctl.store.open import open_store
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.cli.records import ABSENT, answers, run
from tests.store.records import sample

ROOT = Path(__file__).parents[2]
START_S = 1_750_000_000
DATABASE = "sqlite:liquidation_engine.db"
HEAD = 8


class Chain:
    """A small market whose accounts a test may rewrite."""

    def __init__(self) -> None:
        config = ScenarioConfig(positions=12, markets=2, start_unix_s=START_S, path="calm")
        self._scenario = Scenario(config)
        self._scenario.hold()
        self.world = self._scenario.world
        self.fund = self._scenario.addresses.insurance_fund
        self.vault = self._scenario.addresses.vault
        self.markets = self._scenario.addresses.markets
        self.url = ""

    def plant(self, kind: str, address: str, **changes: int | bytes) -> None:
        """Rewrite fields of an account; a number is one of 64 bits."""
        key = Pubkey.from_string(address)
        state = self.world.account(key)
        assert state is not None
        blob = bytearray(state.data)
        places: Mapping[str, Any] = REFERENCE_IDL.account_layout(kind).dtype.fields or {}
        for name, value in changes.items():
            written = value.to_bytes(8, "little") if isinstance(value, int) else value
            start = HEAD + places[name][1]
            blob[start : start + len(written)] = written
        self._put(key, AccountState(lamports=state.lamports, data=bytes(blob), owner=state.owner))

    def close(self, address: str) -> None:
        self._put(Pubkey.from_string(address), CLOSED)

    def _put(self, key: Pubkey, state: AccountState) -> None:
        """Write an account from outside and let it be confirmed."""
        self.world.set_account(key, state)
        self.world.tick()
        self.world.tick()


@contextmanager
def served(chain: Chain) -> Iterator[None]:
    """Serve the chain from a thread of its own; its slots stand still but for `plant`."""
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        config = ServerConfig(port=0, ticking=False)
        async with LocalnetServer(chain.world, SystemClock(), config) as server:
            chain.url = server.url
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)
    chain = Chain()
    with served(chain):
        monkeypatch.setenv("LIQCTL_RPC_URL", chain.url)
        yield chain


def fund_of(*options: str) -> dict[str, Any]:
    (answer,) = answers("insurance", *options)
    return answer


def past(chain: Chain, *balances: int, genesis: str | None = None) -> None:
    """Record balances a minute apart, and one of another fund."""
    store: Store = open_store(DATABASE)
    store.record_insurance(sample(0, address="other", balance=1))
    for minute, balance in enumerate(balances):
        store.record_insurance(sample(minute * 60_000, address=chain.fund, balance=balance))
    if genesis is not None:
        store.put_state("genesis", f'"{genesis}"', 1)
    store.close()


def test_the_fund_is_what_the_chain_says_without_any_database(chain, tmp_path):
    chain.plant(
        "InsuranceFund",
        chain.fund,
        balance=U64_MAX,
        bad_debt_covered=7_000_001,
        bad_debt_uncovered=2,
        liquidation_count=41,
    )

    answer = fund_of()

    assert answer["type"] == "insurance_fund"
    assert answer["address"] == chain.fund
    assert (answer["balance"], answer["liquidations"]) == (U64_MAX, 41)
    assert (answer["bad_debt_covered"], answer["bad_debt_uncovered"]) == (7_000_001, 2)
    assert answer["slot"] > 0
    assert answer["history"] == []
    lines = run("insurance").stdout.splitlines()
    assert "balance             18,446,744,073,709.551615" in lines
    assert "bad debt covered    7.000001" in lines
    assert "bad debt uncovered  0.000002" in lines
    assert not any(tmp_path.glob("*.db"))


def test_coverage_is_the_balance_over_the_larger_side_of_each_market(chain):
    sol, btc = chain.markets["SOL"], chain.markets["BTC"]
    chain.plant("Market", sol, open_interest_long=10**9, open_interest_short=3 * 10**9 + 1)
    chain.plant("Market", btc, open_interest_long=2 * 10**8, open_interest_short=10**8)
    chain.plant("InsuranceFund", chain.fund, balance=100_000_000)

    answer = fund_of()

    prices = {one["symbol"]: one["price_e6"] for one in answer["markets"]}
    assert prices == {"BTC": 65_000_000_000, "SOL": 150_000_000}
    assert answer["open_interest"] == 450_000_001 + 13_000_000_000
    assert answer["open_interest_basis"] == "larger_side"
    assert answer["coverage_bps"] == 74
    text = run("insurance").stdout
    assert "open interest       13,450.000001, of each market the larger side" in text
    assert "coverage            0.74 % of the open interest" in text


def test_nothing_open_is_nothing_to_cover(chain):
    for market in chain.markets.values():
        chain.plant("Market", market, open_interest_long=0, open_interest_short=0)

    assert (fund_of()["open_interest"], fund_of()["coverage_bps"]) == (0, None)
    assert "coverage            nothing is open" in run("insurance").stdout


def test_a_market_without_a_price_makes_coverage_unknown_and_is_named(chain):
    chain.plant("Market", chain.markets["SOL"], price_account=bytes(Pubkey.from_string(ABSENT)))

    answer = fund_of()

    assert (answer["open_interest"], answer["coverage_bps"]) == (None, None)
    (refused,) = [one for one in answer["markets"] if one["price_e6"] is None]
    assert (refused["symbol"], refused["refusal"]) == ("SOL", "price_missing")
    text = run("insurance").stdout
    assert "open interest       unknown: SOL price_missing\n" in text
    assert "coverage            unknown\n" in text


def test_a_market_that_cannot_be_read_is_counted(chain):
    chain.plant("Market", chain.markets["SOL"], padding=b"\1")

    assert (fund_of()["unreadable_markets"], fund_of()["coverage_bps"]) == (1, None)
    assert "open interest       unknown: 1 unreadable\n" in run("insurance").stdout


def test_a_fund_below_five_percent_of_the_value_locked_is_warned_about(chain):
    locked = fund_of()["value_locked"]

    chain.plant("InsuranceFund", chain.fund, balance=-(-locked // 20))
    assert (fund_of()["low"], "warning" in run("insurance").stdout) == (False, False)
    chain.plant("InsuranceFund", chain.fund, balance=locked // 20 - locked // 10_000)
    assert fund_of()["low"] is True
    assert run("insurance").stdout.endswith("warning: the fund is below 5 % of the value locked\n")


def test_the_value_locked_is_unknown_without_the_vault(chain):
    chain.close(chain.vault)

    answer = fund_of()

    assert (answer["value_locked"], answer["low"]) == (None, None)
    assert "value locked        unknown" in run("insurance").stdout


def test_the_past_of_this_fund_is_plotted_and_part_of_the_json(chain):
    past(chain, 2_000_000_000, 1_950_000_000, 1_975_500_000)

    text = run("insurance").stdout

    assert "history             3 samples in 2 min, -24.50\n" in text
    assert "2,000.00┤" in text
    assert "1,950.00┤" in text
    assert "2 min before" in text
    assert [one["balance"] for one in fund_of()["history"]] == [
        2_000_000_000,
        1_950_000_000,
        1_975_500_000,
    ]
    assert len(fund_of("--history", "2")["history"]) == 2
    assert fund_of("--history", "0")["history"] == []


def test_a_terminal_without_unicode_gets_a_plot_in_ascii(chain):
    past(chain, 1_000_000, 2_000_000)

    shown = subprocess.run(
        [sys.executable, "-m", "liqctl", "insurance"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "ascii",
            "LIQCTL_RPC_URL": chain.url,
        },
        capture_output=True,
        check=True,
    )

    assert "2.00+" in shown.stdout.decode("ascii")


def test_the_past_of_another_cluster_is_not_shown(chain):
    past(chain, 1_000_000, 2_000_000, genesis=ABSENT)

    silent, asked = run("insurance"), run("insurance", "--history", "5")

    assert silent.exit_code == 0
    assert "no history: the database" in silent.stderr
    assert "history  " not in silent.stdout
    assert asked.exit_code == 2
    assert f'belongs to the cluster with genesis "{ABSENT}"' in asked.stderr


def test_a_past_that_was_asked_for_must_be_there(chain):
    result = run("insurance", "--history", "5")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "`liqctl watch` creates it" in result.stderr


def test_a_program_without_a_fund_is_an_error_that_names_the_address(chain):
    chain.close(chain.fund)

    result = run("insurance")

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no insurance fund at {chain.fund}" in result.stderr


def test_a_fund_that_is_something_else_is_not_shown(chain):
    chain.plant("InsuranceFund", chain.fund, padding=b"\1")

    result = run("insurance")

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{chain.fund} is not the insurance fund" in result.stderr


def test_watch_prints_a_line_each_interval_until_it_is_stopped(chain):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LIQCTL_RPC_URL": chain.url,
        "LIQCTL_INSURANCE_INTERVAL_MS": "500",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "liqctl", "insurance", "--watch", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        before = json.loads(child.stdout.readline())
        chain.plant("InsuranceFund", chain.fund, balance=before["balance"] + 1)
        following = [json.loads(child.stdout.readline()) for _ in range(2)]
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)

    assert following[-1]["balance"] == before["balance"] + 1
    assert child.returncode == 130


def test_a_node_that_does_not_answer_ends_with_code_4(chain):
    assert run("insurance", "--url", "http://127.0.0.1:9").exit_code == 4


def test_the_help_says_what_coverage_is_and_has_examples():
    text = " ".join(run("insurance", "--help").stdout.split())

    assert "of each market the larger side at its mark price" in text
    assert "liqctl insurance --watch" in text
