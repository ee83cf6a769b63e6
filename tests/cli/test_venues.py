"""`liqctl venues`: what is known, a mapping to fill in, and a mapping tried on real accounts."""

import base64
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from liqctl.keeper.decode import CLOCK_SYSVAR
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.cli.chain_fixture import Chain, Desk, Run, chain, inside, run
from tests.venues import planted as at
from tests.venues.program_cases import NOW
from tests.venues.test_mapping import EXAMPLE
from tests.venues.test_reference_verdict import CASE


@pytest.fixture(scope="module")
def fallen() -> Iterator[Chain]:
    """SOL fell by 1 %: three positions are liquidatable."""
    with chain() as running:
        running.price("SOL", 990_000)
        yield running


@pytest.fixture
def desk(fallen: Chain, tmp_path: Path) -> Desk:
    (tmp_path / "idl.json").write_text(json.dumps(REFERENCE_IDL.raw))
    (tmp_path / "mapping.toml").write_text(EXAMPLE.read_text())
    return Desk(place=tmp_path, chain=fallen)


OWN = ("--idl", "idl.json", "--mapping", "mapping.toml")


def away(desk: Desk, *arguments: object) -> Run:
    """A command that needs no node."""
    return inside(desk.place, *arguments)


def test_each_venue_is_listed_with_what_it_was_verified_against(desk):
    found = away(desk, "venues", "list", "--json", *OWN).json

    names = ["reference", "perpetuals", "adrena", "jupiter", "reference-mapped"]
    assert [one["venue"] for one in found] == names
    assert all(len(one["idl_sha256"]) == 64 for one in found)
    assert found[0]["idl_sha256"] == found[4]["idl_sha256"]
    assert (found[4]["can_liquidate"], found[4]["verified_on"]) == (True, "2026-11-25")
    table = away(desk, "venues", "list").out.splitlines()
    assert table[0].split()[:3] == ["venue", "liquidates", "verdict"]
    assert len(table) == 5


def test_why_a_venue_is_watch_only_is_said(desk):
    text = EXAMPLE.read_text()
    bare = text[: text.index("[maintenance]")] + text[text.index("[accounts.fund]") :]
    (desk.place / "mapping.toml").write_text(bare)

    found = away(desk, "venues", "list", *OWN)

    assert "reference-mapped is watch-only: the mapping has no [maintenance] rule" in found.err


def test_a_skeleton_is_written_once_and_never_over_a_file(desk):
    printed = away(desk, "venues", "init", "--idl", "idl.json", "--name", "mine")
    written = away(desk, "venues", "init", "--idl", "idl.json", "-o", "new.toml")
    again = away(desk, "venues", "init", "--idl", "idl.json", "-o", "new.toml")

    assert tomllib.loads(printed.out)["name"] == "mine"
    assert tomllib.loads((desk.place / "new.toml").read_text())["name"] == "idl"
    assert (written.code, written.out) == (0, "")
    assert (again.code, "new.toml is there already" in again.err) == (2, True)


@pytest.mark.parametrize(
    "content, words",
    [("{", "idl.json is no IDL that can be used: this is no JSON"), ("[]", "the top level")],
)
def test_a_file_that_is_no_idl_is_refused(desk, content, words):
    (desk.place / "idl.json").write_text(content)

    found = away(desk, "venues", "init", "--idl", "idl.json")

    assert found.code == 2
    assert words in found.err


def test_an_idl_without_mapping_is_refused(desk):
    found = desk.run("scan", "-n", "--idl", "idl.json")

    assert found.code == 2
    assert "--idl and --mapping belong together" in found.err


def test_a_scan_through_the_mapping_finds_what_the_built_in_venue_finds(desk):
    mapped = desk.run("scan", "-n", "--json", *OWN).json
    built_in = desk.run("scan", "-n", "--json").json

    assert mapped["venue"] == "reference-mapped"
    assert mapped["coverage"] == built_in["coverage"]
    assert len(mapped["liquidatable"]) == 3
    for one, other in zip(mapped["liquidatable"], built_in["liquidatable"], strict=True):
        assert {**one, "slot": 0} == {**other, "slot": 0}


def test_the_accounts_of_a_node_fit_and_the_instruction_is_tried(desk):
    worst = desk.run("scan", "-n", "--json").json["liquidatable"][0]["position"]

    found = desk.run("venues", "check", *OWN, "--simulate", worst, "--json")

    report = found.json
    assert (found.code, report["ok"], report["misfits"]) == (0, True, [])
    assert report["accounts"] == {"positions": 60, "markets": 3, "others": 1}
    assert report["verdicts"] == {"healthy": 57, "liquidatable": 3}
    tried = report["simulation"]
    assert (tried["liquidatable"], tried["outcome"], tried["confirmation"]) == (True, "ok", "ok")
    assert tried["effects"]["closed_size"] > 0


def test_a_healthy_position_is_tried_and_the_refusal_is_no_fault_of_the_mapping(desk):
    scan = desk.run("scan", "-n", "--json").json
    fallen = {one["position"] for one in scan["liquidatable"]}
    healthy = next(one for one in desk.chain.tell(do="positions")["addresses"] if one not in fallen)

    found = desk.run("venues", "check", *OWN, "--simulate", healthy)

    assert found.code == 0
    assert "our verdict is healthy" in found.out
    assert "the instruction: healthy" in found.out


def test_a_mapping_with_a_wrong_account_is_found_out_by_the_simulation(desk):
    text = EXAMPLE.read_text().replace(
        'price_account = "price"\ninsurance', 'price_account = "market"\ninsurance'
    )
    (desk.place / "mapping.toml").write_text(text)
    worst = desk.run("scan", "-n", "--json").json["liquidatable"][0]["position"]

    found = desk.run("venues", "check", *OWN, "--simulate", worst)

    assert found.code == 1
    assert "our verdict is liquidatable" in found.out
    assert "the program disagrees" in found.out


def test_what_is_no_position_cannot_be_tried(desk):
    found = desk.run("venues", "check", *OWN, "--simulate", at.OWNER)

    assert found.code == 2
    assert "is not a position of the program" in found.err


def dump(folder: Path, address: object, owner: object, blob: bytes) -> None:
    account = {
        "lamports": 1,
        "data": [base64.b64encode(blob).decode(), "base64"],
        "owner": str(owner),
        "executable": False,
    }
    text = json.dumps({"pubkey": str(address), "account": account})
    (folder / f"{address}.json").write_text(text)


@pytest.fixture
def dumps(desk: Desk) -> Path:
    folder = desk.place / "dumps"
    folder.mkdir()
    dump(folder, at.POSITION, at.PROGRAM, at.position_bytes(CASE))
    dump(folder, at.MARKET, at.PROGRAM, at.market_bytes(CASE))
    dump(folder, at.FUND, at.PROGRAM, at.fund_bytes(CASE))
    dump(folder, at.PRICE, at.RECEIVER, CASE.price_account())
    clock = bytes(32) + NOW.to_bytes(8, "little")
    dump(folder, CLOCK_SYSVAR, "Sysvar1111111111111111111111111111111111111", clock)
    return folder


def test_dumps_are_judged_without_a_node(desk, dumps):
    found = away(desk, "venues", "check", *OWN, "--accounts", "dumps")

    assert found.code == 0
    assert "1 markets, 1 others, 1 positions, 1 prices" in found.out
    assert "verdicts: 1 liquidatable" in found.out


def test_dumps_without_the_clock_are_decoded_only(desk, dumps):
    (dumps / f"{CLOCK_SYSVAR}.json").unlink()

    found = away(desk, "venues", "check", *OWN, "--accounts", "dumps")

    assert found.code == 0
    assert "verdicts" not in found.out
    assert "no verdicts: the folder has no dump of the clock" in found.err


def test_an_account_that_does_not_fit_is_listed_and_fails(desk, dumps):
    dump(dumps, at.POSITION, at.PROGRAM, at.position_bytes(CASE)[:-1])

    found = away(desk, "venues", "check", *OWN, "--accounts", "dumps")

    assert found.code == 1
    assert f"{at.POSITION}: wrong_length, Position of 143 bytes, expected 144" in found.out


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"pubkey": "x"}', '{"pubkey": "1", "account": {"data": ["!", "base64"]}}'],
)
def test_a_file_that_is_no_dump_is_refused(desk, dumps, content):
    (dumps / "a.json").write_text(content)

    found = away(desk, "venues", "check", *OWN, "--accounts", "dumps")

    assert found.code == 2
    assert "a.json is no account dump" in found.err


def test_a_check_needs_a_mapping_and_a_folder_with_dumps(desk, tmp_path):
    (tmp_path / "empty").mkdir()

    bare = away(desk, "venues", "check")
    empty = away(desk, "venues", "check", *OWN, "--accounts", "empty")
    missing = away(desk, "venues", "check", *OWN, "--accounts", "nowhere")

    assert [one.code for one in (bare, empty, missing)] == [2, 2, 2]
    assert "needs --idl and --mapping" in bare.err
    assert "has no *.json" in empty.err
    assert "is not a directory" in missing.err


@pytest.mark.timeout(90)
def test_a_keeper_run_through_the_mapping_is_verified_on_chain(desk):
    watch = ("watch", "--localnet", "--positions", "150", "--duration", "8", "--json")

    found = run(desk.place, *watch, *OWN, within=80)

    summary = found.lines[-1]
    assert (found.code, summary["verified_on_chain"]) == (0, True)
    assert summary["coverage"]["unknown"] == {}
    assert summary["liquidated_full"] + summary["liquidated_partial"] > 0
