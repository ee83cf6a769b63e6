"""The chain itself: commitment, closures, history, lookup tables, dumps, determinism."""

import base64
import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.errors import SettingsError
from liqctl.localnet.account import AccountState
from liqctl.localnet.dump import load_accounts
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.rpc.encoding import zstd_frame
from liqctl.localnet.world import BankUpdate, SlotUpdate, World, WorldConfig
from tests.localnet.chain_world import (
    PAYER,
    PROGRAM,
    RECEIVER,
    SOL,
    ask,
    new_world,
    transfer_of,
)

MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")


def test_each_commitment_reads_its_own_block() -> None:
    world = new_world()
    for lamports in (1, 2, 3, 4, 5):
        world.set_account(RECEIVER, AccountState(lamports=lamports, owner=PROGRAM))
        world.tick()

    seen = {level: world.account(RECEIVER, level) for level in Commitment}

    assert {level: state.lamports for level, state in seen.items() if state} == {
        Commitment.PROCESSED: 5,
        Commitment.CONFIRMED: 5,
        Commitment.FINALIZED: 3,
    }


def test_an_account_that_changed_hands_is_listed_under_its_owner_of_that_block() -> None:
    world = new_world()
    world.set_account(RECEIVER, AccountState(lamports=1, owner=PROGRAM))
    for _ in range(4):
        world.tick()
    world.set_account(RECEIVER, AccountState(lamports=1, owner=MEMO))
    world.tick()
    world.set_account(RECEIVER, AccountState(lamports=0))

    listed = {
        (owner, level): [key for key, _ in world.accounts_at(owner, world.ledger.bank(level))]
        for owner in (PROGRAM, MEMO)
        for level in Commitment
    }

    assert listed == {
        (PROGRAM, Commitment.PROCESSED): [],
        (PROGRAM, Commitment.CONFIRMED): [],
        (PROGRAM, Commitment.FINALIZED): [RECEIVER],
        (MEMO, Commitment.PROCESSED): [],
        (MEMO, Commitment.CONFIRMED): [RECEIVER],
        (MEMO, Commitment.FINALIZED): [],
    }
    assert world.account(RECEIVER) is None


def test_a_drained_account_is_gone() -> None:
    world = new_world()
    world.set_account(RECEIVER, AccountState(lamports=5, owner=PROGRAM))
    world.set_account(RECEIVER, AccountState(lamports=0, owner=PROGRAM))

    assert list(world.accounts_at(PROGRAM, world.ledger.open_block)) == []
    assert ask(world, "getAccountInfo", str(RECEIVER), {"commitment": "processed"})["value"] is None


def test_genesis_is_visible_at_every_commitment() -> None:
    world = World(WorldConfig(start_unix_s=0))
    world.set_account(RECEIVER, AccountState(lamports=5))

    assert [world.account(RECEIVER, level) for level in Commitment] == [world.account(RECEIVER)] * 3


@pytest.mark.parametrize("confirm, finalize", [(1, 1), (1, 3), (2, 32)])
def test_a_transaction_climbs_through_the_levels(confirm: int, finalize: int) -> None:
    world = new_world(confirm_blocks=confirm, finalize_blocks=finalize)
    sent = transfer_of(SOL, world.latest_blockhash())
    world.submit(sent)

    climb: list[tuple[str, int | None]] = []
    for _ in range(finalize + 1):
        status = ask(world, "getSignatureStatuses", [str(sent.signatures[0])])["value"][0]
        climb.append((status["confirmationStatus"], status["confirmations"]))
        world.tick()

    levels = ["processed"] * confirm + ["confirmed"] * (finalize - confirm) + ["finalized"]
    counts: list[int | None] = [*range(finalize), None]
    assert climb == list(zip(levels, counts, strict=True))


def test_skipped_slots_have_no_block_and_no_height() -> None:
    world = new_world()
    before = world.ledger.open_block

    block = world.tick(skipped=3)

    assert (block.slot, block.parent_slot) == (before.slot + 4, before.slot)
    assert block.height == before.height + 1
    assert block.unix_ms == before.unix_ms + 4 * 400


def test_listeners_hear_of_every_level_once_and_in_order() -> None:
    world = new_world()
    heard: list[tuple[str, int]] = []

    def note(update: BankUpdate | SlotUpdate) -> None:
        if isinstance(update, BankUpdate) and RECEIVER in update.written:
            heard.append((update.commitment, world.slot))

    stop = world.listen(note)
    slot = world.slot
    world.set_account(RECEIVER, AccountState(lamports=1))
    for _ in range(6):
        world.tick()
    stop()
    world.set_account(RECEIVER, AccountState(lamports=2))

    assert heard == [("processed", slot), ("confirmed", slot + 1), ("finalized", slot + 3)]


def test_the_same_config_gives_the_same_chain() -> None:
    first, second = new_world(), new_world()
    for world in (first, second):
        world.airdrop(RECEIVER, SOL)
        world.tick()

    assert first.genesis_hash == second.genesis_hash
    assert first.latest_blockhash() == second.latest_blockhash()
    assert _signatures(first, RECEIVER) == _signatures(second, RECEIVER)
    assert new_world(seed="other").latest_blockhash() != first.latest_blockhash()


def test_a_chain_that_was_started_at_another_time_is_another_cluster() -> None:
    first, again = (World(WorldConfig(start_unix_s=start)) for start in (1_000, 1_001))

    assert first.genesis_hash != again.genesis_hash


def test_programs_read_the_clock_of_the_open_block() -> None:
    world = new_world(slot_ms=1000)
    for _ in range(9):
        world.tick()

    clock = world.account(Pubkey.from_string("SysvarC1ock11111111111111111111111111111111"))

    assert clock is not None
    assert int.from_bytes(clock.data[:8], "little") == world.slot == 11
    assert int.from_bytes(clock.data[32:40], "little") == 1_750_000_000 + 10


def test_old_transactions_are_forgotten_completely() -> None:
    world = new_world(transactions_kept=3)
    sent = [transfer_of(SOL + number, world.latest_blockhash()) for number in range(5)]

    for transaction in sent:
        world.submit(transaction)

    kept = [str(one.signatures[0]) for one in sent[2:]]
    assert _signatures(world, RECEIVER) == kept[::-1]
    assert [world.history.find(one.signatures[0]) is None for one in sent[:2]] == [True, True]
    assert len(world.history.in_slot(world.slot)) == 3
    assert world.history.total == 5


def test_signatures_are_paged_between_before_and_until() -> None:
    world = new_world()
    for number in range(6):
        world.submit(transfer_of(SOL + number, world.latest_blockhash()))
    for _ in range(4):
        world.tick()
    newest_first = _signatures(world, RECEIVER)

    def page(**limits: object) -> list[str]:
        rows = ask(world, "getSignaturesForAddress", str(RECEIVER), limits)
        return [row["signature"] for row in rows]

    assert page(limit=2) == newest_first[:2]
    assert page(before=newest_first[1], limit=2) == newest_first[2:4]
    assert page(until=newest_first[4]) == newest_first[:4]
    assert page(before=newest_first[0], until=newest_first[3]) == newest_first[1:3]


def test_only_the_payer_of_a_failed_transaction_is_written() -> None:
    world = new_world()
    world.set_account(RECEIVER, AccountState(lamports=SOL))
    world.tick()

    landed = world.submit(transfer_of(200 * SOL, world.latest_blockhash()))

    assert isinstance(landed, Landed)
    assert landed.failure == {"InstructionError": [0, {"Custom": 1}]}
    assert world.written_slot(PAYER.pubkey()) == world.slot
    assert world.written_slot(RECEIVER) == world.slot - 1


def test_accounts_behind_a_lookup_table_are_found_and_indexed() -> None:
    world = new_world()
    table = _table_with(world, RECEIVER)
    data = (2).to_bytes(4, "little") + (3 * SOL).to_bytes(8, "little")
    metas = [AccountMeta(PAYER.pubkey(), True, True), AccountMeta(RECEIVER, False, True)]
    message = MessageV0.try_compile(
        PAYER.pubkey(),
        [Instruction(Pubkey.default(), data, metas)],
        [table],
        world.latest_blockhash(),
    )

    landed = world.submit(VersionedTransaction(message, [PAYER]))
    for _ in range(3):
        world.tick()

    assert isinstance(landed, Landed)
    assert landed.failure is None
    assert landed.keys.loaded_writable == (RECEIVER,)
    assert landed.post_lamports[-1] == 3 * SOL
    assert _signatures(world, RECEIVER) == [str(landed.signature)]


def test_dumps_of_accounts_and_programs_are_loaded(tmp_path: Path) -> None:
    memo = new_world().account(MEMO)
    assert memo is not None
    program = Pubkey(bytes([60] * 32))
    _dump(tmp_path / "program.json", program, memo)
    plain = AccountState(lamports=7, data=b"content", owner=PROGRAM, rent_epoch=2**64 - 1)
    _dump(tmp_path / "plain.json", RECEIVER, plain)
    world = new_world()

    count = load_accounts(world, tmp_path)

    note = Instruction(program, b"hello", [])
    message = MessageV0.try_compile(PAYER.pubkey(), [note], [], world.latest_blockhash())
    landed = world.submit(VersionedTransaction(message, [PAYER]))
    assert count == 2
    assert world.account(RECEIVER) == plain
    assert isinstance(landed, Landed)
    assert 'Program log: Memo (len 5): "hello"' in landed.execution.logs


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        '{"pubkey": "abc", "account": {"lamports": 1, "data": ["", "base64"], "owner": "1"}}',
        '{"pubkey": "%s", "account": {"lamports": 1, "data": ["!", "base64"], "owner": "%s"}}',
        '{"pubkey": "%s", "account": {"lamports": 1, "data": ["", "base58"], "owner": "%s"}}',
        '{"pubkey": "%s", "account": {"lamports": -1, "data": ["", "base64"], "owner": "%s"}}',
    ],
)
def test_a_damaged_dump_is_named(tmp_path: Path, content: str) -> None:
    keys = (str(RECEIVER), str(PROGRAM))
    (tmp_path / "bad.json").write_text(content % keys if "%s" in content else content)

    with pytest.raises(SettingsError, match=r"bad\.json"):
        load_accounts(new_world(), tmp_path)


def test_a_folder_that_cannot_be_looked_at_is_named() -> None:
    with pytest.raises(SettingsError, match="account dumps: cannot read aaa"):
        load_accounts(new_world(), Path("a" * 300))


def test_a_damaged_program_is_refused() -> None:
    with pytest.raises(SettingsError, match="not a loadable ELF"):
        new_world().add_program(PROGRAM, b"\x7fELF" + bytes(100))


def test_a_platform_without_the_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "solders.litesvm":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(SettingsError, match="no virtual machine") as caught:
        World(WorldConfig(start_unix_s=0))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"confirm_blocks": 0},
        {"confirm_blocks": 4},
        {"finalize_blocks": 33},
        {"slot_ms": 0},
        {"transactions_kept": 0},
    ],
)
def test_impossible_chains_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        new_world(**changes)


def test_zstd_frames_are_made_of_raw_blocks() -> None:
    frame = zstd_frame(bytes(131_073))

    # Checked once against the reference decoder: magic, descriptor, size, then two blocks.
    assert frame[:9].hex() == "28b52ffda001000200"
    assert frame[9:12] == (131_072 << 3).to_bytes(3, "little")
    assert frame[12 + 131_072 :] == (1 << 3 | 1).to_bytes(3, "little") + b"\0"
    assert zstd_frame(b"").hex() == "28b52ffda000000000010000"


def _signatures(world: World, address: Pubkey) -> list[str]:
    return [str(one.signature) for one in world.history.of_address(address)]


def _table_with(world: World, address: Pubkey) -> Any:
    from solders.address_lookup_table_account import AddressLookupTableAccount

    key = Pubkey(bytes([70] * 32))
    header = (1).to_bytes(4, "little") + b"\xff" * 8 + bytes(8) + b"\0\0" + bytes(34)
    state = AccountState(lamports=SOL, data=header + bytes(address), owner=LOOKUP_TABLES)
    world.set_account(key, state)
    world.tick()
    return AddressLookupTableAccount(key, [address])


def _dump(path: Path, key: Pubkey, state: AccountState) -> None:
    account = {
        "lamports": state.lamports,
        "data": [base64.b64encode(state.data).decode(), "base64"],
        "owner": str(state.owner),
        "executable": state.executable,
        "rentEpoch": state.rent_epoch,
        "space": len(state.data),
    }
    path.write_text(json.dumps({"pubkey": str(key), "account": account}))
