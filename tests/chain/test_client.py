"""Typed calls: what is asked, what is believed, what is refused."""

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.chain.answers import Commitment, EntryFault, PriorityFee, RefusedEntry, Status
from liqctl.chain.base58 import encode, is_address, is_signature
from liqctl.chain.client import Chain
from liqctl.chain.wire import failure_of
from liqctl.core.account import Account
from liqctl.core.instruction import Failure
from liqctl.errors import RpcError, RpcMalformed, RpcRefused
from tests.chain.scripted import (
    ADDRESSES,
    PROGRAM,
    EveryMethod,
    Json,
    ScriptedRpc,
    account,
    in_context,
)

RAW = b"\x01" + bytes(range(64)) + b"\x80message"
SIGNATURE = encode(bytes(range(64)))
OTHER = encode(bytes([9] * 64))
DISCRIMINATOR = b"\x00\x01\x02"


def chain(**answers: object) -> tuple[Chain, ScriptedRpc]:
    rpc = ScriptedRpc(**answers)
    return Chain(rpc), rpc


async def test_accounts_are_read_in_one_slot_by_address():
    node, rpc = chain(getMultipleAccounts=in_context([account(), None], 42))

    found = await node.accounts(ADDRESSES[:2], min_context_slot=40)

    assert found.slot == 42
    assert found.by_address == {
        ADDRESSES[0]: Account(
            address=ADDRESSES[0], owner=PROGRAM, lamports=5, data=b"\x00\x01\x02", slot=42
        ),
        ADDRESSES[1]: None,
    }
    config = {"commitment": "confirmed", "encoding": "base64", "minContextSlot": 40}
    assert rpc.params("getMultipleAccounts") == [[list(ADDRESSES[:2]), config]]


async def test_more_than_100_addresses_take_further_calls_and_the_lowest_slot_counts():
    answers = (in_context([None] * 100, 8), in_context([None] * 5, 7))
    node, rpc = chain(getMultipleAccounts=answers)

    found = await node.accounts([encode(bytes([i]) * 32) for i in range(1, 106)])

    assert found.slot == 7
    assert len(found.by_address) == 105
    assert [len(list(params[0])) for params in rpc.params("getMultipleAccounts")] == [100, 5]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"value": []},
        in_context([account()], 42) | {"context": {}},
        in_context([], 42),
        in_context([account(), account()], 42),
        in_context([account()], 39),
        in_context([account()], -1),
        in_context([account()], True),
        in_context([account()], 2**63),
        in_context([account(owner="nobody")], 42),
        in_context([account("not base64!")], 42),
        in_context([account("AAE")], 42),
        in_context([account(lamports=-1)], 42),
        in_context([account() | {"data": ["AAEC", "base58"]}], 42),
        in_context([account() | {"data": "AAEC"}], 42),
        in_context([account() | {"lamports": "5"}], 42),
        in_context([7], 42),
    ],
)
async def test_a_wrong_answer_about_accounts_is_malformed(answer):
    node, _ = chain(getMultipleAccounts=answer)

    with pytest.raises(RpcMalformed):
        await node.accounts([ADDRESSES[0]], min_context_slot=40)


async def test_a_snapshot_asks_by_discriminator_and_never_by_length():
    entry = {"pubkey": ADDRESSES[0], "account": account()}
    node, rpc = chain(getProgramAccounts=in_context([entry], 50))

    found = await node.program_accounts(PROGRAM, DISCRIMINATOR, min_context_slot=50)

    assert [each.address for each in found.accounts] == [ADDRESSES[0]]
    assert (found.slot, found.refused) == (50, ())
    ((program, config),) = rpc.params("getProgramAccounts")
    assert program == PROGRAM
    assert config == {
        "commitment": "confirmed",
        "encoding": "base64",
        "withContext": True,
        "filters": [{"memcmp": {"offset": 0, "bytes": encode(DISCRIMINATOR)}}],
        "minContextSlot": 50,
    }


@pytest.mark.parametrize(
    ("entry", "address", "fault"),
    [
        (7, None, EntryFault.MALFORMED),
        ({"pubkey": "x", "account": account()}, None, EntryFault.MALFORMED),
        ({"pubkey": ADDRESSES[0]}, ADDRESSES[0], EntryFault.MALFORMED),
        ({"pubkey": ADDRESSES[0], "account": account("%%%%")}, ADDRESSES[0], EntryFault.MALFORMED),
        (
            {"pubkey": ADDRESSES[0], "account": account(owner="x")},
            ADDRESSES[0],
            EntryFault.MALFORMED,
        ),
        (
            {"pubkey": ADDRESSES[0], "account": account(owner=ADDRESSES[2])},
            ADDRESSES[0],
            EntryFault.WRONG_OWNER,
        ),
        (
            {"pubkey": ADDRESSES[0], "account": account("AAED")},
            ADDRESSES[0],
            EntryFault.WRONG_DISCRIMINATOR,
        ),
        ({"pubkey": ADDRESSES[1], "account": account()}, ADDRESSES[1], EntryFault.REPEATED),
    ],
)
async def test_one_bad_entry_of_a_snapshot_is_counted_and_hides_no_other(entry, address, fault):
    good = [{"pubkey": each, "account": account()} for each in ADDRESSES[1:]]
    node, _ = chain(getProgramAccounts=in_context([good[0], entry, good[1]]))

    found = await node.program_accounts(PROGRAM, DISCRIMINATOR)

    assert [each.address for each in found.accounts] == list(ADDRESSES[1:])
    assert found.refused == (RefusedEntry(address=address, fault=fault),)


async def test_a_snapshot_without_context_is_malformed():
    node, _ = chain(getProgramAccounts=[{"pubkey": ADDRESSES[0], "account": account()}])

    with pytest.raises(RpcMalformed):
        await node.program_accounts(PROGRAM, DISCRIMINATOR)


async def test_the_blockhash_is_asked_at_confirmed_whatever_else_is_read_at():
    value = {"blockhash": ADDRESSES[0], "lastValidBlockHeight": 300}
    rpc = ScriptedRpc(getLatestBlockhash=in_context(value, 77))

    found = await Chain(rpc, Commitment.PROCESSED).latest_blockhash()

    assert (found.hash, found.last_valid_block_height, found.context_slot) == (
        ADDRESSES[0],
        300,
        77,
    )
    assert rpc.params("getLatestBlockhash") == [[{"commitment": "confirmed"}]]


@pytest.mark.parametrize("value", [{"blockhash": "?", "lastValidBlockHeight": 3}, {}, None])
async def test_a_blockhash_that_is_none_is_malformed(value):
    node, _ = chain(getLatestBlockhash=in_context(value))

    with pytest.raises(RpcMalformed):
        await node.latest_blockhash()


async def test_epoch_info_below_the_asked_slot_is_malformed():
    node, _ = chain(getEpochInfo={"absoluteSlot": 9, "blockHeight": 8})

    found = await node.epoch_info(Commitment.FINALIZED, min_context_slot=9)

    assert (found.slot, found.block_height) == (9, 8)
    with pytest.raises(RpcMalformed):
        await node.epoch_info(Commitment.FINALIZED, min_context_slot=10)


async def test_statuses_search_the_history_and_keep_the_order():
    known: Json = {
        "slot": 5,
        "confirmations": None,
        "err": {"InstructionError": [2, {"Custom": 6003}]},
        "status": {"Err": {}},
        "confirmationStatus": "finalized",
    }
    node, rpc = chain(getSignatureStatuses=in_context([None, known], 11))

    found = await node.statuses([OTHER, SIGNATURE])

    assert found.context_slot == 11
    assert found.statuses == (
        None,
        Status(
            slot=5,
            level=Commitment.FINALIZED,
            failure=Failure(instruction=2, code=6003, name="Custom"),
        ),
    )
    assert rpc.params("getSignatureStatuses") == [
        [[OTHER, SIGNATURE], {"searchTransactionHistory": True}]
    ]


async def test_statuses_are_asked_256_at_a_time():
    answers = (in_context([None] * 256, 8), in_context([None] * 44, 9))
    node, _ = chain(getSignatureStatuses=answers)

    found = await node.statuses([SIGNATURE] * 300)

    assert (found.context_slot, len(found.statuses)) == (8, 300)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [None, None],
        [{"slot": 5, "err": None}],
        [{"slot": 5, "err": None, "confirmationStatus": "certain"}],
        [{"slot": 5, "err": 7, "confirmationStatus": "finalized"}],
        [{"err": None, "confirmationStatus": "finalized"}],
        [{"slot": 2**62, "err": None, "confirmationStatus": "finalized"}],
        None,
    ],
)
async def test_a_wrong_status_is_malformed_and_never_success(value):
    node, _ = chain(getSignatureStatuses=in_context(value))

    with pytest.raises(RpcMalformed):
        await node.statuses([SIGNATURE])


async def test_history_is_asked_at_finalized_and_must_be_newest_first():
    page = [{"signature": SIGNATURE, "slot": 9, "err": None, "blockTime": None}]
    node, rpc = chain(getSignaturesForAddress=page)

    (entry,) = await node.signatures_for_address(ADDRESSES[0], min_context_slot=8, before=OTHER)

    assert (entry.signature, entry.slot) == (SIGNATURE, 9)
    config = {"commitment": "finalized", "limit": 1000, "minContextSlot": 8, "before": OTHER}
    assert rpc.params("getSignaturesForAddress") == [[ADDRESSES[0], config]]
    for wrong in (
        [{"signature": SIGNATURE, "slot": 1}, {"signature": OTHER, "slot": 2}],
        [{"signature": "x", "slot": 1}],
        {"signature": SIGNATURE, "slot": 1},
    ):
        node, _ = chain(getSignaturesForAddress=wrong)
        with pytest.raises(RpcMalformed):
            await node.signatures_for_address(ADDRESSES[0])


async def test_a_first_send_asks_for_preflight_at_the_bank_of_the_blockhash():
    node, rpc = chain(sendTransaction=SIGNATURE)

    assert await node.send(RAW, first=True, min_context_slot=77) == SIGNATURE

    ((sent, config),) = rpc.params("sendTransaction")
    assert base64.b64decode(str(sent)) == RAW
    assert config == {
        "encoding": "base64",
        "skipPreflight": False,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": 77,
    }


async def test_a_rebroadcast_skips_preflight_and_names_no_slot():
    node, rpc = chain(sendTransaction=SIGNATURE)

    await node.send(RAW, first=False, min_context_slot=77)

    assert rpc.params("sendTransaction")[0][1] == {
        "encoding": "base64",
        "skipPreflight": True,
        "maxRetries": 0,
    }


@pytest.mark.parametrize("answer", [OTHER, "", None, 7, {"signature": SIGNATURE}])
async def test_a_send_answered_with_another_signature_is_malformed(answer):
    node, _ = chain(sendTransaction=answer)

    with pytest.raises(RpcMalformed):
        await node.send(RAW, first=True, min_context_slot=1)


async def test_a_simulation_needs_no_key_and_no_fresh_blockhash():
    value = {
        "err": None,
        "logs": ["Program log: a"],
        "unitsConsumed": 1234,
        "returnData": {"programId": PROGRAM, "data": ["AQ==", "base64"]},
        "accounts": [account(lamports=9), None],
        "innerInstructions": None,
    }
    node, rpc = chain(simulateTransaction=in_context(value, 60))

    found = await node.simulate(RAW, accounts=ADDRESSES[:2], min_context_slot=59)

    assert (found.slot, found.failure, found.compute_units) == (60, None, 1234)
    assert found.logs == ("Program log: a",)
    assert found.return_data is not None
    assert found.return_data.data == b"\x01"
    after = found.accounts[ADDRESSES[0]]
    assert after is not None
    assert after.lamports == 9
    assert found.accounts[ADDRESSES[1]] is None
    assert rpc.params("simulateTransaction")[0][1] == {
        "commitment": "confirmed",
        "encoding": "base64",
        "sigVerify": False,
        "replaceRecentBlockhash": True,
        "minContextSlot": 59,
        "accounts": {"encoding": "base64", "addresses": list(ADDRESSES[:2])},
    }


async def test_a_failed_simulation_has_the_failure_with_its_logs_and_no_accounts():
    value = {
        "err": {"InstructionError": [3, {"Custom": 6000}]},
        "logs": ["Program log: no"],
        "accounts": [None],
    }
    node, _ = chain(simulateTransaction=in_context(value))

    found = await node.simulate(RAW, accounts=ADDRESSES[:1])

    assert found.failure == Failure(
        instruction=3, code=6000, name="Custom", logs=("Program log: no",)
    )
    assert found.accounts == {}


@pytest.mark.parametrize(
    "value",
    [
        {"err": None, "accounts": None},
        {"err": None, "accounts": []},
        {"err": None, "accounts": [None], "logs": [7]},
        {"err": None, "accounts": [None], "unitsConsumed": -1},
        {"err": None, "accounts": [None], "returnData": {"programId": "x", "data": ["", "base64"]}},
        {"err": False, "accounts": [None]},
        None,
    ],
)
async def test_a_wrong_simulation_is_malformed_and_never_success(value):
    node, _ = chain(simulateTransaction=in_context(value))

    with pytest.raises(RpcMalformed):
        await node.simulate(RAW, accounts=ADDRESSES[:1])


def landed(**changes: object) -> Json:
    return {
        "slot": 90,
        "blockTime": 1_700_000_000,
        "transaction": [base64.b64encode(RAW).decode(), "base64"],
        "meta": {"fee": 205_000, "err": None, "logMessages": ["x"], "computeUnitsConsumed": 7},
        "version": 0,
        **changes,
    }


async def test_a_landed_transaction_tells_its_fee_and_logs():
    node, rpc = chain(getTransaction=landed())

    found = await node.transaction(SIGNATURE)

    assert found is not None
    assert (found.slot, found.fee_lamports, found.compute_units) == (90, 205_000, 7)
    assert found.cost_lamports is None
    assert (found.logs, found.failure, found.block_time_s) == (("x",), None, 1_700_000_000)
    assert rpc.params("getTransaction")[0][1] == {
        "encoding": "base64",
        "commitment": "finalized",
        "maxSupportedTransactionVersion": 0,
    }


@pytest.mark.parametrize("answer", [None, landed(meta=None)])
async def test_a_transaction_not_told_yet_is_none(answer):
    node, _ = chain(getTransaction=answer)

    assert await node.transaction(SIGNATURE) is None


@pytest.mark.parametrize(
    "answer",
    [
        landed(transaction=[base64.b64encode(b"\x01" + bytes(64)).decode(), "base64"]),
        landed(transaction={"message": {}}),
        landed(meta={"err": None}),
        landed(slot="90"),
        [],
    ],
)
async def test_another_or_a_wrong_transaction_is_malformed(answer):
    node, _ = chain(getTransaction=answer)

    with pytest.raises(RpcMalformed):
        await node.transaction(SIGNATURE)


async def test_small_calls_return_plain_values():
    fees = [{"slot": 1, "prioritizationFee": 5}]
    node, rpc = chain(
        getSlot=5,
        getBalance=in_context(7),
        getGenesisHash=ADDRESSES[0],
        getFirstAvailableBlock=3,
        getRecentPrioritizationFees=fees,
        getHealth="ok",
        isBlockhashValid=in_context(False, 12),
    )

    assert await node.slot(Commitment.FINALIZED) == 5
    assert await node.balance(ADDRESSES[0]) == 7
    assert await node.genesis_hash() == ADDRESSES[0]
    assert await node.first_available_block() == 3
    assert await node.recent_priority_fees() == (PriorityFee(slot=1, price_micro_lamports=5),)
    validity = await node.is_blockhash_valid(ADDRESSES[0], Commitment.FINALIZED)
    assert (validity.valid, validity.context_slot) == (False, 12)
    await node.health()
    assert rpc.params("getSlot") == [[{"commitment": "finalized"}]]


async def test_an_unhealthy_node_says_what_is_wrong():
    node, _ = chain(getHealth=(RpcRefused("behind", code=-32005), "well"))

    with pytest.raises(RpcRefused):
        await node.health()
    with pytest.raises(RpcMalformed):
        await node.health()


@pytest.mark.parametrize(
    ("err", "expected"),
    [
        ({"InstructionError": [0, "InvalidAccountData"]}, (0, None, "InvalidAccountData")),
        ({"InstructionError": [1, {"Custom": 0}]}, (1, 0, "Custom")),
        ({"InstructionError": [1, {"BorshIoError": "Unknown"}]}, (1, None, "BorshIoError")),
        (
            {"InsufficientFundsForRent": {"account_index": 2}},
            (None, None, "InsufficientFundsForRent"),
        ),
        ("AlreadyProcessed", (None, None, "AlreadyProcessed")),
    ],
)
def test_transaction_errors_become_failures(err, expected):
    found = failure_of(err, ("log",))

    assert found is not None
    assert (found.instruction, found.code, found.name) == expected
    assert found.logs == ("log",)


@pytest.mark.parametrize(
    "err",
    [
        {},
        [],
        "",
        7,
        True,
        "with blank",
        "\x1b[31m",
        "a" * 100,
        {"InstructionError": 1},
        {"InstructionError": [True, {"Custom": 1}]},
        {"InstructionError": [-1, {"Custom": 1}]},
        {"InstructionError": [0, {"Custom": "1"}]},
        {"InstructionError": [0, {"Custom": 2**32}]},
        {"InstructionError": [0, {"Custom": True}]},
        {"InstructionError": [0, None]},
        {"InstructionError": [0, {"Custom": 1, "more": 2}]},
        {"A": 1, "B": 2},
    ],
)
def test_what_is_no_transaction_error_is_malformed_and_never_success(err):
    with pytest.raises(RpcMalformed):
        failure_of(err)


WORDS = st.sampled_from(
    [
        "context",
        "slot",
        "value",
        "err",
        "data",
        "owner",
        "lamports",
        "pubkey",
        "account",
        "meta",
        "blockhash",
        "fee",
        "signature",
        "lastValidBlockHeight",
        "absoluteSlot",
        "blockHeight",
        "confirmationStatus",
        "finalized",
        "Custom",
        "base64",
        "InstructionError",
        "transaction",
        "9icJ1w96CBJHCHuKXJPaRYfNgLwe8oJkuLrj6jYvPfJe",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | WORDS
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
SHAPED = JSON | JSON.map(in_context) | st.lists(JSON, max_size=2).map(in_context)


@settings(max_examples=150, deadline=None)
@given(SHAPED)
async def test_any_answer_gives_a_value_or_an_rpc_error_and_nothing_else(answer):
    node = Chain(EveryMethod(answer))
    calls = [
        lambda: node.accounts([ADDRESSES[0]]),
        lambda: node.program_accounts(PROGRAM, DISCRIMINATOR),
        node.latest_blockhash,
        lambda: node.epoch_info(Commitment.FINALIZED),
        lambda: node.is_blockhash_valid(ADDRESSES[0], Commitment.FINALIZED),
        lambda: node.statuses([SIGNATURE]),
        lambda: node.signatures_for_address(ADDRESSES[0]),
        node.first_available_block,
        lambda: node.simulate(RAW, accounts=[ADDRESSES[0]]),
        lambda: node.send(RAW, first=True, min_context_slot=1),
        lambda: node.transaction(SIGNATURE),
        node.slot,
        lambda: node.balance(ADDRESSES[0]),
        node.genesis_hash,
        node.recent_priority_fees,
        node.health,
    ]

    for call in calls:
        with contextlib.suppress(RpcError):
            await call()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_base58_agrees_with_the_reader_of_addresses_and_signatures(address, signature):
    assert is_address(encode(address))
    assert is_signature(encode(signature))
    assert not is_address(encode(signature))
