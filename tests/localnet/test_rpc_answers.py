"""What the JSON-RPC answers say when nothing is wrong."""

import base64
import json
from typing import Any

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from liqctl.chain import base58
from liqctl.localnet.account import SYSTEM_PROGRAM, AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.spl_token import TOKEN_PROGRAM
from liqctl.localnet.subscriptions import Session
from liqctl.localnet.world import World
from tests.localnet.chain_world import (
    PAYER,
    PROGRAM,
    RECEIVER,
    SOL,
    ask,
    in_base64,
    new_world,
    refusal,
    request,
    transfer_of,
)

MINT = Pubkey(bytes([50] * 32))
LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
TOKEN_ACCOUNTS = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
PROCESSED = {"commitment": "processed"}


@pytest.mark.parametrize(
    "pattern, found",
    [
        ({"offset": 0, "bytes": "2"}, [1, 3]),
        ({"offset": 1, "bytes": "4", "encoding": "base58"}, [3]),
        ({"offset": 1, "bytes": "Aw==", "encoding": "base64"}, [3]),
        ({"offset": 1, "bytes": [3]}, [3]),
        ({"offset": 2, "bytes": "2"}, []),
        ({"offset": 0, "bytes": ""}, [0, 1, 2, 3]),
    ],
)
def test_memcmp_compares_at_its_offset(pattern: dict[str, object], found: list[int]) -> None:
    world = new_world()
    for number in range(4):
        state = AccountState(lamports=1, data=bytes([number % 2, number]), owner=PROGRAM)
        world.set_account(Pubkey(bytes([100 + number] * 32)), state)
    config = {**PROCESSED, "encoding": "base64", "filters": [{"memcmp": pattern}]}

    answer = ask(world, "getProgramAccounts", str(PROGRAM), {**config, "withContext": True})

    contents = [base64.b64decode(one["account"]["data"][0]) for one in answer["value"]]
    assert sorted(content[1] for content in contents) == found
    assert answer["context"]["slot"] == world.slot
    assert ask(world, "getProgramAccounts", str(PROGRAM), config) == answer["value"]


def test_an_account_is_written_in_each_encoding() -> None:
    world = new_world()
    world.set_account(RECEIVER, AccountState(lamports=1, data=b"\0abc", owner=PROGRAM))

    shown = {
        encoding: ask(world, "getAccountInfo", str(RECEIVER), {**PROCESSED, **encoding_of})
        for encoding, encoding_of in [
            ("none", {}),
            ("base58", {"encoding": "base58"}),
            ("base64", {"encoding": "base64"}),
            ("base64+zstd", {"encoding": "base64+zstd"}),
            ("jsonParsed", {"encoding": "jsonParsed"}),
        ]
    }

    assert {name: answer["value"]["data"] for name, answer in shown.items()} == {
        "none": "1ZiCa",
        "base58": ["1ZiCa", "base58"],
        "base64": ["AGFiYw==", "base64"],
        "base64+zstd": ["KLUv/aAEAAAAIQAAAGFiYw==", "base64+zstd"],
        "jsonParsed": ["AGFiYw==", "base64"],
    }
    value = shown["base64"]["value"]
    assert (value["owner"], value["lamports"], value["space"]) == (str(PROGRAM), 1, 4)
    assert value["executable"] is False


def test_the_blockhash_answer_comes_from_one_block() -> None:
    world = new_world()
    for _ in range(9):
        world.tick()

    answer = ask(world, "getLatestBlockhash")
    epoch = ask(world, "getEpochInfo")

    assert answer["context"]["slot"] == epoch["absoluteSlot"] == world.slot - 3
    assert answer["value"]["lastValidBlockHeight"] == epoch["blockHeight"] + 150


def test_a_simulation_shows_accounts_after_it_and_replaces_the_blockhash() -> None:
    world = new_world()
    for _ in range(200):
        world.tick()
    old = transfer_of(SOL, World(world.config).latest_blockhash())
    unsigned = VersionedTransaction.populate(old.message, [Signature.default()])
    accounts = {"encoding": "base64", "addresses": [str(RECEIVER), str(PAYER.pubkey())]}
    config: dict[str, object] = {"encoding": "base64", "accounts": accounts, **PROCESSED}

    expired = ask(world, "simulateTransaction", in_base64(unsigned), config)["value"]
    config["replaceRecentBlockhash"] = True
    replaced = ask(world, "simulateTransaction", in_base64(unsigned), config)["value"]
    accounts["addresses"] = [str(RECEIVER)] * 4
    too_many = refusal(world, "simulateTransaction", in_base64(unsigned), config)

    assert expired["err"] == "BlockhashNotFound"
    assert expired["accounts"] == [None, None]
    assert replaced["err"] is None
    assert [one["lamports"] for one in replaced["accounts"]] == [SOL, 99 * SOL - 5_000]
    assert replaced["replacementBlockhash"]["blockhash"] == str(world.latest_blockhash())
    assert too_many["message"] == "Too many accounts provided; max 3"
    assert world.account(RECEIVER) is None


def test_a_simulated_payer_has_paid_the_priority_fee() -> None:
    world = new_world()
    sent = _signed(world, [set_compute_unit_limit(10_000), set_compute_unit_price(1_000_000)])
    accounts = {"encoding": "base64", "addresses": [str(PAYER.pubkey())]}
    config = {"encoding": "base64", "accounts": accounts, **PROCESSED}

    (payer,) = ask(world, "simulateTransaction", in_base64(sent), config)["value"]["accounts"]

    assert payer["lamports"] == 100 * SOL - 5_000 - 10_000


def test_cross_program_calls_and_token_balances_are_part_of_a_transaction() -> None:
    world = new_world()
    world.set_account(MINT, AccountState(lamports=SOL, data=_mint_bytes(), owner=TOKEN_PROGRAM))
    sent = _signed(world, _open_and_mint(1_500_000))

    simulated = ask(
        world,
        "simulateTransaction",
        in_base64(sent),
        {"encoding": "base64", "innerInstructions": True, **PROCESSED},
    )["value"]
    ask(world, "sendTransaction", in_base64(sent), {"encoding": "base64", "skipPreflight": True})
    world.tick()
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    meta = ask(world, "getTransaction", str(sent.signatures[0]), config)["meta"]

    assert meta["err"] is None
    assert meta["innerInstructions"] == simulated["innerInstructions"]
    assert meta["innerInstructions"][0]["index"] == 0
    assert {one["stackHeight"] for one in meta["innerInstructions"][0]["instructions"]} == {2}
    assert meta["preTokenBalances"] == []
    (after,) = meta["postTokenBalances"]
    assert (after["mint"], after["owner"]) == (str(MINT), str(RECEIVER))
    assert after["uiTokenAmount"] == {
        "amount": "1500000",
        "decimals": 6,
        "uiAmount": 1.5,
        "uiAmountString": "1.5",
    }
    again = _signed(world, _open_and_mint(500_000)[1:])
    ask(world, "sendTransaction", in_base64(again), {"encoding": "base64", "skipPreflight": True})
    world.tick()
    meta = ask(world, "getTransaction", str(again.signatures[0]), config)["meta"]
    amounts = [
        meta[name][0]["uiTokenAmount"]["amount"]
        for name in ("preTokenBalances", "postTokenBalances")
    ]
    assert amounts == ["1500000", "2000000"]


def test_a_program_makes_a_lookup_table_from_a_recent_slot() -> None:
    world = new_world()
    for _ in range(5):
        world.tick()
    recent = (world.slot - 1).to_bytes(8, "little")
    table, bump = Pubkey.find_program_address([bytes(PAYER.pubkey()), recent], LOOKUP_TABLES)
    metas = [
        AccountMeta(table, False, True),
        AccountMeta(PAYER.pubkey(), True, False),
        AccountMeta(PAYER.pubkey(), True, True),
        AccountMeta(SYSTEM_PROGRAM, False, False),
    ]
    create = Instruction(LOOKUP_TABLES, bytes(4) + recent + bytes([bump]), metas)

    landed = world.submit(_signed(world, [create]))

    assert isinstance(landed, Landed)
    assert landed.failure is None
    state = world.account(table)
    assert state is not None
    assert state.owner == LOOKUP_TABLES


def test_read_only_keys_are_not_written() -> None:
    world = new_world()

    world.submit(transfer_of(SOL, world.latest_blockhash()))

    assert world.written_slot(RECEIVER) == world.slot
    assert world.written_slot(SYSTEM_PROGRAM) is None


@pytest.mark.parametrize(
    "limit, micro_lamports, lamports",
    [(200_000, 1_000_000, 200_000), (3, 1, 1), (999, 1_001, 1), (1_000, 1_000, 1), (1_001, 1_000, 2)],
)  # fmt: skip
def test_the_priority_fee_is_rounded_up(limit: int, micro_lamports: int, lamports: int) -> None:
    world = new_world()
    budget = [set_compute_unit_limit(limit), set_compute_unit_price(micro_lamports)]
    sent = _signed(world, budget)

    fee = ask(world, "getFeeForMessage", _message(sent), PROCESSED)["value"]
    landed = world.submit(sent)

    assert fee == 5_000 + lamports
    assert isinstance(landed, Landed)
    assert landed.execution.fee_lamports == fee
    assert landed.pre_lamports[0] - landed.post_lamports[0] == fee


def test_the_fee_of_an_expired_message_is_unknown() -> None:
    world = new_world()
    sent = transfer_of(SOL, world.latest_blockhash())
    for _ in range(151):
        world.tick()

    assert ask(world, "getFeeForMessage", _message(sent), PROCESSED)["value"] is None


def test_recent_priority_fees_are_those_of_the_asked_accounts() -> None:
    world = new_world()
    world.submit(_signed(world, [set_compute_unit_price(500)]))
    world.submit(_signed(world, [set_compute_unit_price(700), *_touch(RECEIVER)]))
    world.tick()

    def newest_two(*keys: Pubkey) -> list[int]:
        rows = ask(world, "getRecentPrioritizationFees", [str(key) for key in keys])
        return [row["prioritizationFee"] for row in rows][-2:]

    assert newest_two() == [500, 0]
    assert newest_two(RECEIVER) == [700, 0]
    assert newest_two(PROGRAM) == [500, 0]


def test_history_shows_only_what_reached_the_level() -> None:
    world = new_world()
    world.submit(transfer_of(SOL, world.latest_blockhash()))

    def count(level: str) -> int:
        config = {"commitment": level}
        return len(ask(world, "getSignaturesForAddress", str(RECEIVER), config))

    counts = []
    for _ in range(4):
        counts.append((count("confirmed"), count("finalized")))
        world.tick()

    assert counts == [(0, 0), (1, 0), (1, 0), (1, 1)]


def test_old_statuses_need_a_history_search() -> None:
    world = new_world()
    sent = transfer_of(SOL, world.latest_blockhash())
    world.submit(sent)
    for _ in range(301):
        world.tick()
    signatures = [str(sent.signatures[0])]

    assert ask(world, "getSignatureStatuses", signatures)["value"] == [None]
    search = {"searchTransactionHistory": True}
    (status,) = ask(world, "getSignatureStatuses", signatures, search)["value"]
    assert status["confirmationStatus"] == "finalized"


def test_a_transaction_may_come_in_base58() -> None:
    world = new_world()
    sent = transfer_of(SOL, world.latest_blockhash())

    signature = ask(
        world, "sendTransaction", base58.encode(bytes(sent)), {"preflightCommitment": "processed"}
    )

    assert signature == str(sent.signatures[0])
    assert base58.decode(base58.encode(b"\0\0\x01")) == b"\0\0\x01"
    assert world.account(RECEIVER) == AccountState(lamports=SOL)


def test_a_signature_subscription_ends_when_it_has_reported() -> None:
    world = new_world()
    sent = transfer_of(SOL, world.latest_blockhash())
    frames: list[Any] = []
    session = Session(world, lambda frame: frames.append(json.loads(frame)))
    config = {"commitment": "confirmed", "enableReceivedNotification": True}
    session.receive(json.dumps(request("signatureSubscribe", str(sent.signatures[0]), config)))

    world.submit(sent)
    world.tick()
    world.tick()
    session.receive(json.dumps(request("signatureUnsubscribe", frames[0]["result"])))
    session.close()
    world.tick()

    values = [frame["params"]["result"]["value"] for frame in frames[1:3]]
    assert values == ["receivedSignature", {"err": None}]
    assert frames[3]["error"]["message"] == "Invalid subscription id."
    assert len(frames) == 4


def test_a_program_subscription_reports_what_passes_its_filters() -> None:
    world = new_world()
    frames: list[Any] = []
    session = Session(world, lambda frame: frames.append(json.loads(frame)))
    config = {**PROCESSED, "encoding": "base64", "filters": [{"dataSize": 3}]}
    session.receive(json.dumps(request("programSubscribe", str(PROGRAM), config)))

    for content in (b"ab", b"abc", b"abcd"):
        world.set_account(RECEIVER, AccountState(lamports=1, data=content, owner=PROGRAM))

    (seen,) = [frame["params"]["result"]["value"] for frame in frames[1:]]
    assert seen["account"]["data"] == ["YWJj", "base64"]


def test_a_subscriber_who_asked_for_base58_does_not_disturb_the_chain() -> None:
    world = new_world()
    frames: list[Any] = []
    session = Session(world, lambda frame: frames.append(json.loads(frame)))
    session.receive(json.dumps(request("accountSubscribe", str(RECEIVER), PROCESSED)))

    for length in (128, 129):
        world.set_account(RECEIVER, AccountState(lamports=1, data=bytes(length), owner=PROGRAM))

    contents = [frame["params"]["result"]["value"]["data"] for frame in frames[1:]]
    assert contents == ["1" * 128, "error: data too large for bs58 encoding"]


def test_a_closed_connection_hears_nothing() -> None:
    world = new_world()
    frames: list[bytes] = []
    session = Session(world, frames.append)
    session.receive(json.dumps(request("slotSubscribe")))
    world.tick()

    session.close()
    world.tick()

    assert len(frames) == 2


def test_blocks_that_are_final_leave_no_undo_records() -> None:
    world = new_world()

    for lamports in range(1, 100):
        world.set_account(RECEIVER, AccountState(lamports=lamports))
        world.tick()

    assert len(world._table._before) == 2


def _signed(world: World, instructions: list[Instruction]) -> VersionedTransaction:
    message = MessageV0.try_compile(PAYER.pubkey(), instructions, [], world.latest_blockhash())
    return VersionedTransaction(message, [PAYER])


def _touch(key: Pubkey) -> list[Instruction]:
    data = (2).to_bytes(4, "little") + SOL.to_bytes(8, "little")
    metas = [AccountMeta(PAYER.pubkey(), True, True), AccountMeta(key, False, True)]
    return [Instruction(SYSTEM_PROGRAM, data, metas)]


def _message(sent: VersionedTransaction) -> str:
    from solders.message import to_bytes_versioned

    return base64.b64encode(to_bytes_versioned(sent.message)).decode()


def _mint_bytes() -> bytes:
    authority = (1).to_bytes(4, "little") + bytes(PAYER.pubkey())
    return authority + bytes(8) + bytes([6, 1]) + bytes(36)


def _open_and_mint(amount: int) -> list[Instruction]:
    seeds = [bytes(RECEIVER), bytes(TOKEN_PROGRAM), bytes(MINT)]
    account, _ = Pubkey.find_program_address(seeds, TOKEN_ACCOUNTS)
    create = Instruction(
        TOKEN_ACCOUNTS,
        b"",
        [
            AccountMeta(PAYER.pubkey(), True, True),
            AccountMeta(account, False, True),
            AccountMeta(RECEIVER, False, False),
            AccountMeta(MINT, False, False),
            AccountMeta(SYSTEM_PROGRAM, False, False),
            AccountMeta(TOKEN_PROGRAM, False, False),
        ],
    )
    mint = Instruction(
        TOKEN_PROGRAM,
        b"\x07" + amount.to_bytes(8, "little"),
        [
            AccountMeta(MINT, False, True),
            AccountMeta(account, False, True),
            AccountMeta(PAYER.pubkey(), True, False),
        ],
    )
    return [create, mint]
