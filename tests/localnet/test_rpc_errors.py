"""Refusals of the JSON-RPC answers: codes, texts and shapes."""

import base64
import json
from typing import Any

import pytest
from solders.compute_budget import set_compute_unit_price
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.rpc.answer import answer, answer_bytes
from liqctl.localnet.world import Dropped
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

PROCESSED = {"encoding": "base64", "preflightCommitment": "processed"}
SKIP = {"encoding": "base64", "skipPreflight": True}


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"getNothing"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"getBalance"}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getBalance","params":{"a":1}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getBalance","params":["abc"]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getBalance","params":[5]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[{"commitment":"max"}]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[7]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[{"minContextSlot":-1}]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"sendTransaction","params":["AAAA"]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"sendTransaction","params":["0"]}', -32602),
    ],
)
def test_a_malformed_request_gets_the_code_of_its_kind(body: bytes, code: int) -> None:
    reply = json.loads(answer_bytes(new_world(), body))

    assert reply["error"]["code"] == code
    assert reply["jsonrpc"] == "2.0"
    assert "result" not in reply


def test_a_batch_is_answered_in_order_and_notifications_are_not_answered() -> None:
    notification = {"jsonrpc": "2.0", "method": "getSlot"}

    replies = answer(new_world(), [request("getHealth"), notification, 5, request("getNothing")])

    assert isinstance(replies, list)
    assert [reply.get("result") for reply in replies] == ["ok", None, None]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32600, -32601]
    assert answer(new_world(), [notification]) is None


def test_a_failing_preflight_carries_the_simulation() -> None:
    world = new_world()
    too_much = transfer_of(200 * SOL, world.latest_blockhash())

    error = refusal(world, "sendTransaction", in_base64(too_much), PROCESSED)

    assert error["code"] == -32002
    assert error["message"] == (
        "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    )
    assert error["data"]["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert error["data"]["unitsConsumed"] == 150
    assert error["data"]["logs"][-1].endswith("custom program error: 0x1")
    assert error["data"]["accounts"] is None


def test_without_preflight_a_failing_transaction_lands_and_pays() -> None:
    world = new_world()
    too_much = transfer_of(200 * SOL, world.latest_blockhash())

    ask(world, "sendTransaction", in_base64(too_much), SKIP)

    status = ask(world, "getSignatureStatuses", [str(too_much.signatures[0])])["value"][0]
    assert status["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert status["status"] == {"Err": status["err"]}
    assert _balance(world, PAYER.pubkey()) == 100 * SOL - 5_000


def test_a_wrong_signature_is_refused_by_preflight_and_swallowed_without() -> None:
    world = new_world()
    good = transfer_of(SOL, world.latest_blockhash())
    forged = VersionedTransaction.populate(good.message, [Signature.default()])

    error = refusal(world, "sendTransaction", in_base64(forged), PROCESSED)
    ask(world, "sendTransaction", in_base64(forged), SKIP)

    assert error == {"code": -32003, "message": "Transaction signature verification failure"}
    assert _balance(world, RECEIVER) == 0


def test_a_lagging_node_refuses_preflight_and_health() -> None:
    world = new_world()
    world.slots_behind = 42
    sent = in_base64(transfer_of(SOL, world.latest_blockhash()))

    expected = {
        "code": -32005,
        "message": "Node is behind by 42 slots",
        "data": {"numSlotsBehind": 42},
    }
    assert refusal(world, "getHealth") == expected
    assert refusal(world, "sendTransaction", sent, PROCESSED) == expected


@pytest.mark.parametrize(
    "method, first",
    [
        ("getSlot", []),
        ("getEpochInfo", []),
        ("getLatestBlockhash", []),
        ("getBalance", [str(RECEIVER)]),
        ("getAccountInfo", [str(RECEIVER)]),
        ("getMultipleAccounts", [[str(RECEIVER)]]),
        ("getProgramAccounts", [str(PROGRAM)]),
        ("getSignaturesForAddress", [str(RECEIVER)]),
    ],
)
def test_min_context_slot_compares_with_the_bank_of_the_commitment(
    method: str, first: list[Any]
) -> None:
    world = new_world()
    for _ in range(5):
        world.tick()
    final = world.slot - 3

    error = refusal(world, method, *first, {"minContextSlot": final + 1})

    assert error == {
        "code": -32016,
        "message": "Minimum context slot has not been reached",
        "data": {"contextSlot": final},
    }
    ask(world, method, *first, {"minContextSlot": final})
    ask(world, method, *first, {"minContextSlot": final + 1, "commitment": "confirmed"})


def test_the_last_block_that_carries_a_transaction_follows_its_last_valid_height() -> None:
    world = new_world()
    latest = ask(world, "getLatestBlockhash", {"commitment": "processed"})["value"]
    blockhash = Hash.from_string(latest["blockhash"])
    while _height(world) < latest["lastValidBlockHeight"] + 1:
        world.tick()

    in_time = world.submit(transfer_of(SOL, blockhash))
    world.tick()
    late = world.submit(transfer_of(SOL + 1, blockhash))

    assert isinstance(in_time, Landed)
    assert late == Dropped(failure="BlockhashNotFound")


def test_an_expired_blockhash_is_refused_by_preflight_and_swallowed_without() -> None:
    world = new_world()
    old = transfer_of(SOL, world.latest_blockhash())
    for _ in range(152):
        world.tick()

    error = refusal(world, "sendTransaction", in_base64(old), PROCESSED)
    signature = ask(world, "sendTransaction", in_base64(old), SKIP)

    assert error["code"] == -32002
    assert error["message"] == "Transaction simulation failed: Blockhash not found"
    assert error["data"]["err"] == "BlockhashNotFound"
    assert error["data"]["logs"] == []
    assert signature == str(old.signatures[0])
    assert ask(world, "getSignatureStatuses", [signature])["value"] == [None]


def test_preflight_refuses_six_blocks_before_the_real_expiry() -> None:
    world = new_world()
    blockhash = world.latest_blockhash()
    for _ in range(144):
        world.tick()

    at_the_edge = ask(world, "sendTransaction", in_base64(transfer_of(SOL, blockhash)), PROCESSED)
    world.tick()
    beyond = refusal(world, "sendTransaction", in_base64(transfer_of(5, blockhash)), PROCESSED)

    assert at_the_edge
    assert beyond["data"]["err"] == "BlockhashNotFound"
    valid = ask(world, "isBlockhashValid", str(blockhash), {"commitment": "processed"})
    assert valid["value"] is True


def test_a_blockhash_newer_than_the_preflight_bank_is_not_found() -> None:
    world = new_world()
    for _ in range(5):
        world.tick()
    fresh = in_base64(transfer_of(SOL, world.latest_blockhash()))

    error = refusal(world, "sendTransaction", fresh, {"encoding": "base64"})

    assert error["data"]["err"] == "BlockhashNotFound"
    valid = ask(world, "isBlockhashValid", str(world.latest_blockhash()))
    assert valid["value"] is False


def test_a_repeated_transaction_is_already_processed_and_lands_once() -> None:
    world = new_world()
    twice = in_base64(transfer_of(SOL, world.latest_blockhash()))
    ask(world, "sendTransaction", twice, PROCESSED)

    error = refusal(world, "sendTransaction", twice, PROCESSED)
    ask(world, "sendTransaction", twice, SKIP)

    assert error["message"] == (
        "Transaction simulation failed: This transaction has already been processed"
    )
    assert error["data"]["err"] == "AlreadyProcessed"
    assert _balance(world, RECEIVER) == SOL


def test_age_is_checked_before_repetition() -> None:
    world = new_world()
    landed = in_base64(transfer_of(SOL, world.latest_blockhash()))
    ask(world, "sendTransaction", landed, PROCESSED)
    for _ in range(152):
        world.tick()

    error = refusal(world, "sendTransaction", landed, PROCESSED)

    assert error["data"]["err"] == "BlockhashNotFound"


def test_a_repetition_unknown_to_the_preflight_bank_passes_and_changes_nothing() -> None:
    world = new_world()
    for _ in range(5):
        world.tick()
    final_hash = ask(world, "getLatestBlockhash")["value"]["blockhash"]
    sixty = in_base64(transfer_of(60 * SOL, Hash.from_string(final_hash)))
    final = {"encoding": "base64", "preflightCommitment": "finalized"}
    ask(world, "sendTransaction", sixty, final)

    ask(world, "sendTransaction", sixty, final)

    assert _balance(world, RECEIVER) == 60 * SOL


def test_the_priority_fee_is_taken_and_must_be_there() -> None:
    world = new_world()
    poor = Keypair.from_seed(bytes([9] * 32))
    world.set_account(poor.pubkey(), AccountState(lamports=SOL))

    paid = world.submit(_with_price(PAYER, world.latest_blockhash(), 1_000_000))
    dropped = world.submit(_with_price(poor, world.latest_blockhash(), 10**10))

    assert isinstance(paid, Landed)
    assert paid.execution.fee_lamports == 5_000 + 200_000
    assert _balance(world, PAYER.pubkey()) == 100 * SOL - 5_000 - 200_000 - 1_000_000
    assert dropped == Dropped(failure="InsufficientFundsForFee")
    assert _balance(world, poor.pubkey()) == SOL


def test_an_unknown_payer_is_dropped() -> None:
    world = new_world()
    nobody = Keypair.from_seed(bytes([8] * 32))
    sent = transfer_of(5, world.latest_blockhash(), payer=nobody)

    error = refusal(world, "sendTransaction", in_base64(sent), PROCESSED)

    assert error["data"]["err"] == "AccountNotFound"
    assert world.submit(sent) == Dropped(failure="AccountNotFound")


@pytest.mark.parametrize(
    "method, params, text",
    [
        ("getMultipleAccounts", [[str(RECEIVER)] * 101], "Too many inputs provided; max 100"),
        ("getSignatureStatuses", [[str(Signature.default())] * 257], "Too many inputs provided; max 256"),
        ("getSignaturesForAddress", [str(RECEIVER), {"limit": 1001}], "Invalid limit; max 1000"),
        (
            "getSignaturesForAddress",
            [str(RECEIVER), {"commitment": "processed"}],
            "Method does not support commitment below `confirmed`",
        ),
        ("getProgramAccounts", [str(PROGRAM), {"filters": [{"dataSize": 1}] * 5}], "Too many filters provided; max 4"),
        ("getBalance", ["1111"], "Invalid param: WrongSize"),
        ("getBalance", ["0OIl"], "Invalid param: Invalid"),
        ("isBlockhashValid", ["0OIl"], None),
        ("getSignatureStatuses", [["0OIl"]], "Invalid param: Invalid"),
        ("getRecentPrioritizationFees", [[5]], None),
        ("getAccountInfo", [str(RECEIVER), {"encoding": "hex"}], None),
        ("getAccountInfo", [str(RECEIVER), {"dataSlice": {"offset": 1}}], None),
        ("getProgramAccounts", [str(PROGRAM), {"filters": [{"size": 1}]}], None),
        ("getProgramAccounts", [str(PROGRAM), {"filters": [{"memcmp": {"offset": 0, "bytes": "0"}}]}], None),
        ("getTokenAccountBalance", [str(RECEIVER)], "Invalid param: could not find account"),
        ("getTokenAccountBalance", [str(PAYER.pubkey())], "Invalid param: not a Token account"),
        ("sendTransaction", ["A" * 2000, {"encoding": "base64"}], None),
    ],
)  # fmt: skip
def test_limits_are_invalid_parameters(method: str, params: list[Any], text: str | None) -> None:
    error = refusal(new_world(), method, *params)

    assert error["code"] == -32602
    assert text is None or error["message"] == text


def test_signature_check_and_replaced_blockhash_exclude_each_other() -> None:
    world = new_world()
    sent = in_base64(transfer_of(SOL, world.latest_blockhash()))

    error = refusal(
        world,
        "simulateTransaction",
        sent,
        {"encoding": "base64", "sigVerify": True, "replaceRecentBlockhash": True},
    )

    assert error["code"] == -32602


def test_base58_is_refused_for_more_than_128_bytes() -> None:
    world = new_world()
    world.set_account(RECEIVER, AccountState(lamports=1, data=bytes(129), owner=PROGRAM))

    error = refusal(world, "getAccountInfo", str(RECEIVER), {"commitment": "processed"})

    assert error["code"] == -32600


def test_block_times_of_skipped_and_future_slots_are_refused() -> None:
    world = new_world()
    world.tick(skipped=2)

    assert refusal(world, "getBlockTime", world.slot - 1)["code"] == -32007
    assert refusal(world, "getBlockTime", world.slot + 1)["code"] == -32004
    assert ask(world, "getBlockTime", world.slot) == 1_750_000_000 + 1


def test_a_versioned_transaction_needs_a_client_that_can_read_it() -> None:
    world = new_world()
    landed = world.submit(transfer_of(SOL, world.latest_blockhash()))
    world.tick()
    assert isinstance(landed, Landed)
    signature = str(landed.signature)

    error = refusal(world, "getTransaction", signature, {"commitment": "confirmed"})

    assert error["code"] == -32015
    config = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
    assert ask(world, "getTransaction", signature, config)["version"] == 0


def test_damaged_transactions_are_refused_and_never_land() -> None:
    world = new_world()
    good = bytes(transfer_of(SOL, world.latest_blockhash()))

    for index in range(len(good)):
        for value in (0x00, 0x7F, 0xFF):
            damaged = good[:index] + bytes([value]) + good[index + 1 :]
            if damaged == good:
                continue
            text = in_base64_bytes(damaged)
            for config in (PROCESSED, SKIP):
                answer(world, request("sendTransaction", text, config))
            answer(world, request("simulateTransaction", text, {"encoding": "base64"}))

    assert _balance(world, RECEIVER) == 0
    assert _balance(world, PAYER.pubkey()) == 100 * SOL


def in_base64_bytes(content: bytes) -> str:

    return base64.b64encode(content).decode()


def _with_price(payer: Keypair, blockhash: Hash, micro_lamports: int) -> VersionedTransaction:
    params = TransferParams(from_pubkey=payer.pubkey(), to_pubkey=RECEIVER, lamports=1_000_000)
    instructions = [set_compute_unit_price(micro_lamports), transfer(params)]
    message = MessageV0.try_compile(payer.pubkey(), instructions, [], blockhash)
    return VersionedTransaction(message, [payer])


def _balance(world: Any, key: Pubkey) -> int:
    balance: int = ask(world, "getBalance", str(key), {"commitment": "processed"})["value"]
    return balance


def _height(world: Any) -> int:
    height: int = ask(world, "getBlockHeight", {"commitment": "processed"})
    return height
