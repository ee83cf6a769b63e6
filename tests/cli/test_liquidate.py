"""`liqctl liquidate`: the figures, the question, the outcome, and every refusal."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from liqctl.cli.liquidate import size_units
from liqctl.cli.reasons import explained
from liqctl.core.price import PriceRefusal
from liqctl.errors import SettingsError
from tests.cli.chain_fixture import PROGRAM, Chain, Desk, chain, environment_of

NOWHERE = "11111111111111111111111111111112"


@pytest.fixture(scope="module")
def crashed() -> Iterator[Chain]:
    """SOL fell by 1 %, BTC by 2 %, ETH not at all."""
    with chain() as running:
        running.price("SOL", 990_000)
        running.price("BTC", 980_000)
        yield running


@pytest.fixture
def desk(crashed: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=crashed)


def liquidatable(desk: Desk, kind: str, index: int = -1) -> str:
    """The position of a kind that is closest to its line, or another one."""
    rows = desk.run("scan", "-n", "--json").json["liquidatable"]
    return str([row for row in rows if row["kind"] == kind][index]["position"])


def recorded(desk: Desk) -> list[str]:
    rows = desk.run("history", "--json").lines
    return [row["position_pubkey"] for row in rows if row["type"] == "liquidation"]


@pytest.mark.parametrize("keypair", ["no/such/key.json", NOWHERE, None])
def test_a_dry_run_shows_the_arithmetic_and_leaves_no_trace(desk, keypair):
    position = liquidatable(desk, "partial")
    key = ["-k", keypair] if keypair else []

    done = desk.run("liquidate", position, "--dry-run", *key)

    for line in (
        f"position            {position}",
        "mark price          ",
        "maintenance margin  ",
        "verdict             liquidatable: partial, closes ",
        "your reward         ",
        "cost at most        205,000 lamports (0.000205 SOL) plus rent",
    ):
        assert f"\n{line}" in f"\n{done.out}"
    if keypair == NOWHERE:
        assert done.code == 6
        assert "the liquidator cannot pay the fee; send it some SOL" in done.err
    else:
        assert done.code == 0
        assert done.err.endswith("dry run: nothing was signed, sent or recorded\n")
    assert list(desk.place.iterdir()) == []


def test_an_excluded_position_is_refused(desk):
    position = liquidatable(desk, "full")
    assert desk.run("scan").code == 0
    assert desk.run("queue", "exclude", position, "--reason", "owner asked").code == 0

    refused = desk.run("liquidate", position, "--yes", "-k", desk.key)

    assert refused.code == 7
    assert "refused: excluded: owner asked: somebody set it aside" in refused.err
    assert recorded(desk) == []


def test_a_reward_below_the_floor_is_refused_unless_a_person_takes_the_loss(desk):
    position = liquidatable(desk, "full")
    dear = {"LIQCTL_PROFIT_FLOOR_PERMILLE": "1000000"}

    refused = desk.run("liquidate", position, "--yes", "-k", desk.key, **dear)
    assert refused.code == 7
    assert "the reward is below" in refused.err
    assert recorded(desk) == []

    done = desk.run("liquidate", position, "--yes", "--at-a-loss", "-k", desk.key, **dear)
    assert done.code == 0, done.err
    assert recorded(desk) == [position]


@pytest.mark.parametrize(
    ("option", "environment"), [("-v", {}), ("-n", {"RUST_LOG": "info"}), ("--log-level=info", {})]
)
def test_the_log_is_there_for_those_who_ask(desk, option, environment):
    position = liquidatable(desk, "partial")

    asked = desk.run("liquidate", position, "-n", "--json", option, **environment)
    unasked = desk.run("liquidate", position, "-n", "--json")

    assert '"event": "liquidation_triggered"' in asked.err
    assert unasked.err == ""


def test_without_a_terminal_it_needs_yes(desk):
    position = liquidatable(desk, "partial")

    for more in ([], ["--no-input"], ["--json"]):
        done = desk.run("liquidate", position, "-k", desk.key, *more)
        assert done.code == 7
        assert done.err.startswith(f"liqctl: Liquidate {position} with ")
        assert done.err.endswith("? Not without --yes.\n")
        assert position in done.out
    assert recorded(desk) == []


def test_max_size_limits_a_partial_liquidation_in_the_units_that_are_shown(desk):
    position = liquidatable(desk, "partial")

    done = desk.run("liquidate", position, "-y", "--max-size", "0.000001", "-k", desk.key, "--json")

    assessment, outcome = done.lines
    assert done.code == 0
    assert (outcome["kind"], outcome["closed_size"]) == ("partial", 1_000)
    assert 0 <= outcome["reward"] < assessment["reward"]
    assert recorded(desk) == [position]


def test_max_size_below_a_full_liquidation_is_refused_before_anything_is_sent(desk):
    position = liquidatable(desk, "full")

    done = desk.run("liquidate", position, "-y", "--max-size", "0.000001", "-k", desk.key)

    assert done.code == 2
    assert done.err.startswith("liqctl: the position can only be closed in full")
    assert recorded(desk) == []


def test_it_says_what_was_closed_and_then_that_nothing_is_left(desk):
    position = liquidatable(desk, "full")

    first = desk.run("liquidate", position, "-y", "-k", desk.key)
    again = desk.run("liquidate", position, "-y", "-k", desk.key, "--json")

    last = first.out.splitlines()[-1]
    assert (first.code, first.err) == (0, "")
    assert last.startswith("liquidated (full): closed ")
    assert ", reward " in last
    assert " (signature " in last
    assert recorded(desk) == [position]
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith(f"liqctl: no account at {position}: it never was, or ")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("STOP", "a file STOP lies beside the database; remove it to go on"),
        (None, "the kill switch is set; `liqctl watch --resume` lifts it"),
    ],
)
def test_a_hold_is_a_guard_with_its_way_out(desk, file, said):
    desk.run("scan")
    if file is None:
        desk.run("watch", "--stop")
    else:
        (desk.place / file).touch()

    done = desk.run("liquidate", liquidatable(desk, "partial"), "-y", "-k", desk.key)

    assert done.code == 7
    assert done.err.splitlines()[-1].startswith("liqctl: refused: kill_switch_")
    assert done.err.endswith(f": {said}\n")


def test_an_own_limit_is_a_guard_and_names_its_setting(desk):
    done = desk.run(
        *("liquidate", liquidatable(desk, "partial"), "-y", "-k", desk.key),
        LIQCTL_MIN_BALANCE_LAMPORTS=str(10**15),
    )

    assert done.code == 7
    assert "min_balance_lamports" in done.err.splitlines()[-1]


def test_what_would_be_refused_is_refused_before_anybody_is_asked(desk):
    position = liquidatable(desk, "partial")

    done = desk.run(
        *("liquidate", position, "-k", desk.key, "--json"),
        LIQCTL_MARKETS_DENY="SOL,BTC,ETH",
    )

    assert done.code == 7
    assert done.err == "liqctl: refused: market_denied: the market is in markets_deny\n"
    assert [line["type"] for line in done.lines] == ["assessment", "outcome"]
    assert done.lines[1]["result"] == "refused"


def test_every_refusal_of_a_price_is_told_in_words():
    assert [one for one in PriceRefusal if explained(one) == one] == []


def test_a_price_ahead_of_the_clock_is_shown_as_such(desk):
    position = liquidatable(desk, "partial")
    desk.chain.raw_price("SOL", age_s=-300, price=145 * 10**8)
    desk.chain.raw_price("BTC", age_s=-300, price=60_000 * 10**8)
    done = desk.run("liquidate", position, "-y", "-k", desk.key)
    desk.chain.price("SOL", 990_000)
    desk.chain.price("BTC", 980_000)

    assert done.code == 5
    assert " s ahead of the cluster's clock, confidence " in done.out
    assert done.err.startswith("liqctl: refused: price_from_future: the price is ahead of ")


def test_a_healthy_position_is_left_alone(desk):
    rows = desk.chain.tell(do="positions")["addresses"]
    sick = {row["position"] for row in desk.run("scan", "-n", "--json").json["liquidatable"]}
    position = next(one for one in rows if one not in sick)

    done = desk.run("liquidate", position, "-y", "-k", desk.key)

    assert done.code == 1
    assert done.out.endswith("verdict             healthy\n")
    assert done.err.startswith("liqctl: the position is healthy: ")


def test_what_is_no_position_is_said_in_words(desk):
    ready = desk.chain.ready
    for pubkey, code, said in (
        ("nokey", 2, "'nokey' is no public key in base58; give a position's address"),
        (NOWHERE, 1, f"no account at {NOWHERE}: it never was, or the position is closed already"),
        (ready["markets"]["SOL"], 1, "but the market SOL"),
        (ready["fund"], 1, "but the insurance fund"),
        (ready["prices"]["SOL"], 1, "but a price account"),
    ):
        done = desk.run("liquidate", pubkey, "-n", "--json")

        assert (done.code, done.out) == (code, "")
        assert said in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "size",
    [
        "0",
        "-1",
        "",
        ".",
        "1e3",
        "0.0000000001",
        "99999999999999",
        "x",
        "9" * 5_000,
        "0." + "9" * 5_000,
    ],
)
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(SettingsError, match="--max-size must be a positive number"):
        size_units(size)


def test_a_size_is_taken_exactly():
    assert [size_units(t) for t in ("2.5", "1", "0.000000001", ".5", "7.")] == [
        2_500_000_000, 1_000_000_000, 1, 500_000_000, 7_000_000_000,
    ]  # fmt: skip


def at_terminal(desk: Desk, *arguments: object) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command whose every stream is a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [str(PROGRAM), *map(str, arguments), *desk.signing],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=desk.place,
        env=environment_of(desk.place, TERM="xterm"),
        start_new_session=True,
    )
    os.close(theirs)
    return child, ours


def read_until(terminal: int, text: str, within: float = 15) -> str:
    """Return what the terminal shows as soon as it shows the text."""
    end, shown = time.monotonic() + within, b""
    while text.encode() not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65_536)
    return shown.decode()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"n\n", 7, "not confirmed; nothing was sent"),
        (b"y\n", 0, "liquidated (partial): closed 0.00001 at "),
        (signal.SIGINT, 130, ""),
    ],
)
def test_at_a_terminal_it_asks_once_and_takes_the_answer(desk, answer, code, said):
    position = liquidatable(desk, "partial")
    child, terminal = at_terminal(desk, "liquidate", position, "--max-size", "0.00001")
    shown = read_until(terminal, "? [y/N]: ")
    if isinstance(answer, bytes):
        os.write(terminal, answer)
    else:
        time.sleep(
            0.5
        )  # the question is on the screen a moment before anybody waits for its answer
        child.send_signal(answer)
    read_until(terminal, said)

    assert child.wait(15) == code
    assert f"Liquidate {position} with " in shown
    assert "verdict             liquidatable" in shown
    os.close(terminal)


def test_the_key_is_looked_at_before_a_database_is_made(desk):
    done = desk.run("liquidate", NOWHERE, "-k", "missing.json")

    assert done.code == 2
    assert not Path(desk.database).exists()
