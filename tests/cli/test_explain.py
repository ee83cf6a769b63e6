"""`liqctl explain` on a chain and on dumps, and `liqctl scan --accounts`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from liqctl.cli.arithmetic import size_digits
from liqctl.cli.explain import supposed_price
from liqctl.errors import SettingsError
from liqctl.venues.facts import FACTS
from tests.cli.chain_fixture import Chain, Desk, Run, chain, inside
from tests.venues import adrena_cases as adrena
from tests.venues import dumps
from tests.venues import test_jupiter as jupiter
from tests.venues.forged import NOW
from tests.venues.perpetuals_cases import PROGRAM, VECTORS, Planted
from tests.venues.test_perpetuals import accounts_of

NOBODY = "11111111111111111111111111111112"
PERPETUALS = ("--venue", "perpetuals", "--program-id", PROGRAM)


@pytest.fixture(scope="module")
def fallen() -> Iterator[Chain]:
    """SOL fell by 1 %: three positions are liquidatable."""
    with chain() as running:
        running.price("SOL", 990_000)
        yield running


@pytest.fixture
def desk(fallen: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=fallen)


def worst(desk: Desk, kind: str) -> str:
    rows = desk.run("scan", "-n", "--json").json["liquidatable"]
    return str(next(row for row in rows if row["kind"] == kind)["position"])


def a_healthy_one(desk: Desk) -> str:
    found = {row["position"] for row in desk.run("scan", "-n", "--json").json["liquidatable"]}
    return str(next(a for a in desk.chain.tell(do="positions")["addresses"] if a not in found))


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_a_liquidatable_position_is_explained_and_the_program_agrees(desk, kind):
    position = worst(desk, kind)

    found = desk.run("explain", position, "--json")

    told = found.json
    assert (found.code, told["type"], told["position"]) == (0, "explain", position)
    assert (told["mid"]["liquidatable"], told["mid"]["kind"], told["mid"]["exact"]) == (
        True,
        kind,
        True,
    )
    assert (told["agrees"], told["program_says"]["by"], told["program_silent"]) == (
        True,
        "view",
        None,
    )
    assert told["flip"]["healthy_price_e6"] == told["flip"]["liquidatable_price_e6"] + 1
    assert told["low"]["price_e6"] < told["mid"]["price_e6"] < told["high"]["price_e6"]
    assert told["owner_favourable"] == "high"
    assert told["steps"]["maintenance_margin_e6"] == told["mid"]["maintenance_margin_e6"]
    assert {one["role"] for one in told["inputs"]} == {
        "position",
        "market",
        "price",
        "insurance_fund",
    }
    assert told["cost"]["fee_lamports"] == 205_000
    assert list(desk.place.iterdir()) == []


def test_a_healthy_position_shows_where_it_would_fall_and_what_would_close_there(desk):
    found = desk.run("explain", a_healthy_one(desk))

    assert found.code == 0
    for words in (
        "at the lower edge",
        ": healthy, equity ",
        "flips   ",
        "would close there",
        "we agree",
    ):
        assert words in found.out
    assert "closes   " not in found.out


def test_a_supposed_price_changes_the_verdict_and_the_program_is_not_asked(desk):
    position = a_healthy_one(desk)
    told = desk.run("explain", position, "--json").json
    price = told["flip"]["liquidatable_price_e6"]

    supposed = f"{told['symbol']}={price // 10**6}.{price % 10**6:06}"
    found = desk.run("explain", position, "--price", supposed, "--json").json

    assert (found["mid"]["price_e6"], found["mid"]["liquidatable"]) == (price, True)
    assert found["supposed_e6"] == {told["symbol"]: price}
    assert (found["program_says"], found["agrees"]) == (None, None)
    assert "supposed" in desk.run("explain", position, "--price", supposed).out


def test_a_liquidators_public_key_says_what_its_accounts_cost(desk):
    position = worst(desk, "full")

    told = desk.run("explain", position, "-k", NOBODY, "--json").json

    assert told["cost"]["liquidator"] == NOBODY
    assert (told["cost"]["rent_lamports"], len(told["cost"]["creates"])) == (2_039_280, 1)


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("not-a-key",), 2, "is no public key"),
        ((NOBODY,), 1, "no account at"),
        ((NOBODY, "--price", "SOL"), 2, "--price must be SYMBOL=VALUE"),
        ((NOBODY, "--now", "5"), 2, "--now needs --accounts"),
    ],
)
def test_what_cannot_be_explained_says_why(desk, arguments, code, words):
    found = desk.run("explain", *arguments)

    assert (found.code, found.out) == (code, "")
    assert words in found.err


def test_another_account_is_named_for_what_it_is(desk):
    found = desk.run("explain", desk.chain.ready["fund"])

    assert found.code == 1
    assert "is not a position of the reference program" in found.err
    assert "the insurance fund" in found.err


def test_a_market_that_the_position_does_not_depend_on_has_no_price_to_suppose(desk):
    found = desk.run("explain", worst(desk, "full"), "--price", "DOGE=1")

    assert (found.code, "it has: SOL" in found.err) == (2, True)


@pytest.mark.parametrize(
    "text", ["SOL", "=1", "SOL=", "SOL=0", "SOL=-1", "SOL=1.0000001", "SOL=1e3", "SOL=²"]
)
def test_a_price_must_be_exact_and_positive(text):
    with pytest.raises(SettingsError, match="SYMBOL=VALUE"):
        supposed_price(text)


def test_sizes_in_records_are_shown_as_their_venue_keeps_them():
    assert {name: size_digits(name) for name in FACTS} == {
        name: one.size_digits for name, one in FACTS.items()
    }


def away(place: Path, *arguments: object) -> Run:
    """A command that asks no node."""
    return inside(place, *arguments)


@pytest.mark.parametrize("number", [n for n, one in enumerate(VECTORS) if one["kind"] == "ok"][:12])
def test_dumps_of_the_vectors_are_audited_and_explained_as_the_program_answered(tmp_path, number):
    vector = VECTORS[number]
    planted = Planted(vector)
    folder = dumps.write(tmp_path / "dumps", accounts_of(planted), planted.now)

    scan = away(tmp_path, "scan", *PERPETUALS, "--accounts", folder, "--json").json
    told = away(
        tmp_path, "explain", vector["position"], *PERPETUALS, "--accounts", folder, "--json"
    ).json

    expected = [vector["position"]] if vector["expect"]["state"] else []
    assert [row["position"] for row in scan["liquidatable"]] == expected
    assert scan["coverage"] == {"positions": 1, "evaluated": 1, "unknown": {}}
    assert (scan["now_s"], scan["now_from"], scan["slot"]) == (planted.now, "clock", 7)
    assert told["mid"]["liquidatable"] is bool(expected)
    assert told["steps"]["program_liquidation_price_e6"] == vector["expect"]["liq_price"]
    assert [told["steps"]["profit_e6"], told["steps"]["loss_e6"]] == vector["expect"]["pnl"]
    assert (told["program_says"], told["cost"]) == (None, None)


def test_the_time_of_an_audit_is_given_or_dumped_or_that_of_the_newest_price(tmp_path):
    planted = Planted(VECTORS[0])
    folder = dumps.write(tmp_path / "dumps", accounts_of(planted))

    def scan(*more: object) -> Run:
        return away(tmp_path, "scan", *PERPETUALS, "--accounts", folder, *more)

    newest = scan("--json").json
    assert newest["now_from"] == "newest_price"
    assert newest["now_s"] == planted.get("custody_oracle", "q", 36)
    later = scan("--json", "--now", planted.now + 9_999).json
    assert (later["now_s"], later["now_from"]) == (planted.now + 9_999, "option")
    assert later["coverage"]["unknown"] == {"price_stale": 1}
    assert f"at unix time {newest['now_s']}, from the newest price" in scan().err
    assert not (tmp_path / "liquidation_engine.db").exists()


def test_an_audit_counts_what_cannot_be_read_and_says_why(tmp_path):
    planted = Planted(VECTORS[0])
    del planted.data["position"][100:]
    folder = dumps.write(tmp_path / "dumps", accounts_of(planted), planted.now)

    found = away(tmp_path, "scan", *PERPETUALS, "--accounts", folder, "--exit-code")

    assert found.code == 0
    assert "coverage 0 of 1 positions, unknown: 1 wrong_length" in found.out
    assert (
        away(tmp_path, "explain", VECTORS[0]["position"], *PERPETUALS, "--accounts", folder).code
        == 1
    )


def test_the_exit_code_tells_of_findings_in_an_audit(tmp_path):
    number = next(n for n, one in enumerate(VECTORS) if one["expect"]["state"] == 1)
    planted = Planted(VECTORS[number])
    folder = dumps.write(tmp_path / "dumps", accounts_of(planted), planted.now)

    assert away(tmp_path, "scan", *PERPETUALS, "--accounts", folder, "--exit-code").code == 3


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda f: (f / "x.json").write_text("{"), "is no account dump"),
        (lambda f: (f / "x.json").write_text(json.dumps({"pubkey": "a"})), "is no account dump"),
        (lambda f: (f / "x.json").write_text(next(f.iterdir()).read_text()), "two dumps of"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused(tmp_path, spoil, words):
    planted = Planted(VECTORS[0])
    folder = dumps.write(tmp_path / "dumps", accounts_of(planted), planted.now)
    spoil(folder)

    found = away(tmp_path, "scan", *PERPETUALS, "--accounts", folder)

    assert (found.code, words in found.err) == (2, True)


@pytest.mark.parametrize("arguments, words", [
    (("--accounts", "nowhere"), "is not a directory"),
    (("--accounts", "a" * 300), "--accounts: cannot read aaa"),
    (("--accounts", ".", "--liquidate"), "--liquidate needs a node"),
    (("--now", "5"), "--now needs --accounts"),
])  # fmt: skip
def test_an_audit_that_cannot_be_is_refused(tmp_path, arguments, words):
    found = away(tmp_path, "scan", *arguments)

    assert (found.code, words in found.err) == (2, True)


def test_without_clock_and_price_the_time_has_to_be_given(tmp_path):
    accounts = [one for one in accounts_of(Planted(VECTORS[0])) if len(one.data) > 100]
    folder = dumps.write(tmp_path / "dumps", accounts)

    found = away(tmp_path, "scan", *PERPETUALS, "--accounts", folder)

    assert (found.code, "give --now" in found.err) == (2, True)


def test_an_adrena_audit_lists_what_an_estimate_finds_and_says_so(tmp_path):
    low = adrena.oracle(145 * adrena.DOLLAR)
    folder = dumps.write(tmp_path / "dumps", adrena.world(low).values(), NOW)

    scan = away(tmp_path, "scan", "--venue", "adrena", "--accounts", folder, "--json").json
    text = away(tmp_path, "explain", adrena.LONG_AT, "--venue", "adrena", "--accounts", folder).out

    [row] = scan["liquidatable"]
    assert (row["position"], row["exact"], row["reward"]) == (adrena.LONG_AT, False, 0)
    assert scan["coverage"] == {"positions": 2, "evaluated": 2, "unknown": {}}
    assert "liquidatable by our estimate" in text
    assert "trade price                 145\n" in text


def test_jupiter_is_scanned_and_explained_and_says_that_it_can_only_be_watched(tmp_path):
    low = jupiter.price(80_000_000_000)
    folder = dumps.write(tmp_path / "dumps", jupiter.world(low).values(), NOW)

    def run(name: str, *more: object) -> Run:
        return away(tmp_path, name, *more, "--venue", "jupiter", "--accounts", folder)

    scan = run("scan", "--json").json
    assert scan["liquidatable"] == []
    assert [row["position"] for row in scan["estimates"]] == [jupiter.LONG_AT]
    assert scan["coverage"]["unknown"] == {"estimate_only": 2}
    table = run("scan").out
    assert "estimate" in table
    assert "1 below their margin by an estimate only" in table
    told = run("explain", jupiter.LONG_AT).out
    assert "liquidatable by our estimate" in told
    assert "watch-only                  keeper-only: " in told
    refused = away(tmp_path, "liquidate", jupiter.LONG_AT, "--venue", "jupiter", "--yes")
    assert (refused.code, "keeper-only" in refused.err) == (7, True)
    also = away(tmp_path, "scan", "--liquidate", "--yes", "--venue", "jupiter")
    assert (also.code, "keeper-only" in also.err) == (7, True)
    assert not list(tmp_path.glob("*.db"))
