"""The expiry proof: each condition alone can deny it."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from liqctl.chain.base58 import decode, encode
from liqctl.chain.client import Chain
from liqctl.chain.expiry import HISTORY_PAGES_MAX, Proof, prove_expiry
from liqctl.chain.pool import Pool
from liqctl.core.intent import Attempt, AttemptState
from liqctl.errors import RpcMalformed, RpcRefused, RpcUnreachable
from tests.chain.scripted import ADDRESSES, EvenRng, ScriptedRpc, StillClock, in_context

CTX0, LVBH, SLOT_F = 1000, 700, 1400
SIGNATURE = encode(bytes([7] * 64))
PAYER = ADDRESSES[2]
ATTEMPT = Attempt(
    signature=SIGNATURE,
    intent_id=1,
    n=1,
    position=ADDRESSES[0],
    symbol="SOL-PERP",
    raw=b"\x01" + bytes(64) + b"\x80\x01\x00\x00\x01" + decode(PAYER),
    blockhash=ADDRESSES[1],
    last_valid_block_height=LVBH,
    min_context_slot=CTX0,
    compute_unit_limit=200_000,
    compute_unit_price_micro_lamports=1_000_000,
    max_cost_lamports=205_000,
    state=AttemptState.SENT,
)


def entry(number: int, slot: int) -> dict[str, object]:
    return {"signature": encode(number.to_bytes(64, "big")), "slot": slot, "err": None}


def full_page(first_number: int, slot: int) -> list[dict[str, object]]:
    return [entry(first_number + i, slot) for i in range(1000)]


OLD = entry(1, CTX0 - 1)
GOOD: dict[str, object] = {
    "getEpochInfo": {"absoluteSlot": SLOT_F, "blockHeight": LVBH + 1},
    "isBlockhashValid": in_context(False, SLOT_F),
    "getSignatureStatuses": in_context([None], SLOT_F),
    "getSignaturesForAddress": [entry(2, CTX0 + 5), OLD],
    "getFirstAvailableBlock": CTX0,
}
OURS = {"signature": SIGNATURE, "slot": CTX0 + 9, "err": {"InstructionError": [2, {"Custom": 1}]}}
SEEN = {"slot": SLOT_F, "err": None, "confirmationStatus": "processed", "confirmations": 0}


async def proof_of(**changes: object) -> tuple[Proof | None, ScriptedRpc]:
    rpc = ScriptedRpc(**(GOOD | changes))
    return await prove_expiry(Chain(rpc), ATTEMPT), rpc


class Node(ScriptedRpc):
    """A scripted endpoint of a pool."""

    def __init__(self, name: str, **changes: object) -> None:
        super().__init__(**(GOOD | changes))
        self.shown_url = f"https://{name}/…"

    async def once(self, method: str, params: Sequence[object]) -> object:
        return await self.call(method, params)

    async def aclose(self) -> None: ...


def pool_of(*nodes: Node) -> Pool:
    return Pool(nodes, [], StillClock(), EvenRng())


async def test_all_conditions_together_are_a_proof_that_keeps_every_answer():
    proof, rpc = await proof_of()

    assert proof is not None
    assert (proof.signature, proof.slot, proof.block_height) == (SIGNATURE, SLOT_F, LVBH + 1)
    assert json.loads(proof.json) == {
        "finalized_slot": SLOT_F,
        "finalized_block_height": LVBH + 1,
        "last_valid_block_height": LVBH,
        "blockhash": ADDRESSES[1],
        "blockhash_valid": False,
        "blockhash_context_slot": SLOT_F,
        "status": None,
        "status_context_slot": SLOT_F,
        "history_address": ADDRESSES[0],
        "history_entries": 2,
        "min_context_slot": CTX0,
        "first_available_slot": CTX0,
        "endpoint": "",
        "second_endpoint": None,
        "endpoints_left_out": [],
    }
    assert rpc.calls == [
        ("getEpochInfo", [{"commitment": "finalized", "minContextSlot": CTX0}]),
        ("getFirstAvailableBlock", []),
        ("isBlockhashValid", [ADDRESSES[1], {"commitment": "finalized", "minContextSlot": SLOT_F}]),
        ("getSignatureStatuses", [[SIGNATURE], {"searchTransactionHistory": True}]),
        (
            "getSignaturesForAddress",
            [ADDRESSES[0], {"commitment": "finalized", "limit": 1000, "minContextSlot": SLOT_F}],
        ),
        ("getFirstAvailableBlock", []),
    ]


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("getEpochInfo", {"absoluteSlot": SLOT_F, "blockHeight": LVBH}, "not past 700"),
        ("getEpochInfo", {"absoluteSlot": SLOT_F, "blockHeight": LVBH - 1}, "not past"),
        ("getEpochInfo", {"absoluteSlot": CTX0 - 1, "blockHeight": LVBH + 1}, "1000 or later"),
        ("isBlockhashValid", in_context(True, SLOT_F), "still valid"),
        ("isBlockhashValid", in_context(False, SLOT_F - 1), "1400 or later"),
        ("isBlockhashValid", in_context(None, SLOT_F), "wrong form"),
        ("getSignatureStatuses", in_context([None], SLOT_F - 1), "before 1400"),
        ("getSignatureStatuses", in_context([SEEN], SLOT_F), "knows the transaction"),
        ("getSignatureStatuses", in_context([], SLOT_F), "entries"),
        ("getSignaturesForAddress", [OURS, OLD], "has the transaction"),
        ("getSignaturesForAddress", [OLD, OURS], "newest first"),
        ("getSignaturesForAddress", None, "wrong form"),
        ("getFirstAvailableBlock", CTX0 + 1, "begins at slot 1001"),
        ("getFirstAvailableBlock", None, "than a number"),
    ],
)
async def test_a_missing_condition_is_no_proof_and_the_log_says_which(method, answer, reason):
    with capture_logs() as logs:
        proof, _ = await proof_of(**{method: answer})

    assert proof is None
    (line,) = logs
    assert line["event"] == "expiry_unproven"
    assert line["signature"] == SIGNATURE
    assert reason in line["reason"]


@pytest.mark.parametrize("method", list(GOOD))
@pytest.mark.parametrize(
    "error",
    [
        RpcUnreachable("timed out"),
        RpcMalformed("garbage"),
        RpcRefused("history is off", code=-32011),
        RpcRefused("behind", code=-32016),
        RpcRefused("slow down", code=429),
    ],
)
async def test_an_error_in_any_call_is_no_proof(method, error):
    proof, _ = await proof_of(**{method: error})

    assert proof is None


@pytest.mark.parametrize(
    "state", [each for each in AttemptState if each not in (AttemptState.SIGNED, AttemptState.SENT)]
)
async def test_only_a_signed_or_sent_attempt_can_be_proven_expired(state):
    rpc = ScriptedRpc(**GOOD)

    assert await prove_expiry(Chain(rpc), replace(ATTEMPT, state=state)) is None
    assert rpc.calls == []


async def test_a_history_that_begins_too_late_either_before_or_after_is_no_proof():
    for pruned in ((CTX0 + 1, CTX0), (CTX0, CTX0 + 1)):
        proof, _ = await proof_of(getFirstAvailableBlock=pruned)
        assert proof is None


async def test_a_signed_attempt_that_was_never_sent_takes_the_same_proof():
    rpc = ScriptedRpc(**GOOD)

    assert await prove_expiry(Chain(rpc), replace(ATTEMPT, state=AttemptState.SIGNED)) is not None


async def test_the_history_is_read_page_by_page_until_it_is_older_than_the_blockhash():
    pages = (full_page(5000, CTX0 + 7), full_page(8000, CTX0), [entry(9, CTX0), OLD])

    proof, rpc = await proof_of(getSignaturesForAddress=pages)

    assert proof is not None
    assert json.loads(proof.json)["history_entries"] == 2002
    configs = [params[1] for params in rpc.params("getSignaturesForAddress")]
    assert [config.get("before") for config in configs] == [
        None,
        pages[0][-1]["signature"],
        pages[1][-1]["signature"],
    ]
    assert all(config["minContextSlot"] == SLOT_F for config in configs)


async def test_our_signature_on_a_later_page_is_found():
    pages = (full_page(5000, CTX0 + 9), [OURS, OLD])

    proof, _ = await proof_of(getSignaturesForAddress=pages)

    assert proof is None


async def test_an_entry_in_the_very_slot_of_the_blockhash_does_not_end_the_history():
    pages = ([entry(2, CTX0)], [{**OURS, "slot": CTX0}, OLD])

    proof, _ = await proof_of(getSignaturesForAddress=pages)

    assert proof is None


@pytest.mark.parametrize("pages", [([],), ([entry(2, CTX0 + 5)], [])])
async def test_the_end_of_a_short_history_is_an_end(pages):
    proof, _ = await proof_of(getSignaturesForAddress=pages)

    assert proof is not None


async def test_an_empty_page_after_a_full_one_is_no_end():
    proof, _ = await proof_of(getSignaturesForAddress=(full_page(5000, CTX0 + 5), []))

    assert proof is None


ENDLESS = tuple([entry(i, CTX0 + 5)] for i in range(2, HISTORY_PAGES_MAX + 2))


async def test_where_the_history_of_the_position_has_no_end_that_of_the_payer_is_read():
    proof, rpc = await proof_of(getSignaturesForAddress=(*ENDLESS, [entry(30, CTX0 + 5), OLD]))

    assert proof is not None
    kept = json.loads(proof.json)
    assert (kept["history_address"], kept["history_entries"]) == (PAYER, 2)
    *_, last = rpc.params("getSignaturesForAddress")
    assert last == [PAYER, {"commitment": "finalized", "limit": 1000, "minContextSlot": SLOT_F}]


async def test_our_signature_in_the_history_of_the_payer_is_found():
    proof, _ = await proof_of(getSignaturesForAddress=(*ENDLESS, [OURS, OLD]))

    assert proof is None


async def test_two_histories_without_end_are_no_proof():
    proof, rpc = await proof_of(getSignaturesForAddress=ENDLESS)

    assert proof is None
    assert len(rpc.params("getSignaturesForAddress")) == 2 * HISTORY_PAGES_MAX


NO_HISTORY = RpcRefused("history is off", code=-32011)
BEHIND = in_context([None], SLOT_F - 1)
SHOWN = in_context([SEEN], SLOT_F)
SHOWN_FROM_BEHIND = in_context([SEEN], SLOT_F - 40)


async def test_a_second_endpoint_confirms_that_the_status_is_unknown():
    first, second = Node("a"), Node("b", getSignatureStatuses=in_context([None], SLOT_F + 3))

    proof = await prove_expiry(Chain(pool_of(first, second)), ATTEMPT)

    assert proof is not None
    kept = json.loads(proof.json)
    assert kept["endpoint"] == "https://a/…"
    assert kept["second_endpoint"] == {
        "endpoint": "https://b/…",
        "status_context_slot": SLOT_F + 3,
    }
    assert kept["endpoints_left_out"] == []
    epoch, *others = GOOD
    assert [method for method, _ in first.calls] == [epoch, "getFirstAvailableBlock", *others]
    assert second.calls == [
        ("getSignatureStatuses", [[SIGNATURE], {"searchTransactionHistory": True}])
    ]


@pytest.mark.parametrize("answer", [SHOWN, SHOWN_FROM_BEHIND, BEHIND, RpcUnreachable("timed out")])
async def test_what_a_second_endpoint_does_not_confirm_is_not_proven(answer):
    first, second = Node("a"), Node("b", getSignatureStatuses=answer)

    assert await prove_expiry(Chain(pool_of(first, second)), ATTEMPT) is None


@pytest.mark.parametrize(
    ("cache", "proven"), [(in_context([None], SLOT_F), True), (SHOWN, False), (NO_HISTORY, True)]
)
async def test_an_endpoint_without_history_is_no_witness_but_its_cache_may_contradict(
    cache, proven
):
    first, second = Node("a"), Node("b", getSignatureStatuses=(NO_HISTORY, cache))

    proof = await prove_expiry(Chain(pool_of(first, second)), ATTEMPT)

    assert (proof is not None) == proven
    assert [params[1] for _, params in second.calls] == [
        {"searchTransactionHistory": True},
        {"searchTransactionHistory": False},
    ]


@pytest.mark.parametrize(("answer", "proven"), [(BEHIND, True), (SHOWN_FROM_BEHIND, False)])
async def test_of_three_endpoints_one_may_be_behind_but_none_may_know_it(answer, proven):
    nodes = Node("a"), Node("b"), Node("c", getSignatureStatuses=answer)

    assert (await prove_expiry(Chain(pool_of(*nodes)), ATTEMPT) is not None) == proven


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("getSignaturesForAddress", NO_HISTORY),
        ("getFirstAvailableBlock", CTX0 + 1),
        ("getEpochInfo", {"absoluteSlot": SLOT_F, "blockHeight": LVBH}),
        ("getEpochInfo", RpcUnreachable("timed out")),
    ],
)
async def test_the_next_endpoint_is_asked_where_the_first_cannot_prove_it(method, answer):
    first, second = Node("a", **{method: answer}), Node("b")

    proof = await prove_expiry(Chain(pool_of(first, second)), ATTEMPT)

    assert proof is not None
    assert json.loads(proof.json)["endpoint"] == "https://b/…"
    assert json.loads(proof.json)["second_endpoint"]["endpoint"] == "https://a/…"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("isBlockhashValid", in_context(True, SLOT_F)),
        ("getSignatureStatuses", SHOWN),
        ("getSignaturesForAddress", [OURS, OLD]),
    ],
)
async def test_one_endpoint_that_contradicts_is_not_outvoted(method, answer):
    first, second = Node("a", **{method: answer}), Node("b")

    assert await prove_expiry(Chain(pool_of(first, second)), ATTEMPT) is None
    assert second.calls == []


async def test_the_answers_of_two_endpoints_are_never_put_together():
    first = Node("a", getSignaturesForAddress=NO_HISTORY)
    second = Node("b", getEpochInfo={"absoluteSlot": SLOT_F, "blockHeight": LVBH})

    assert await prove_expiry(Chain(pool_of(first, second)), ATTEMPT) is None


async def test_an_endpoint_with_an_open_breaker_is_left_out_and_that_is_told():
    first, second = Node("a"), Node("b", getSignatureStatuses=RpcUnreachable("timed out"))
    chain = Chain(pool_of(first, second))

    with capture_logs() as logs:
        found = [await prove_expiry(chain, ATTEMPT) for _ in range(4)]

    assert [proof is not None for proof in found] == [False, False, False, True]
    assert found[3] is not None
    kept = json.loads(found[3].json)
    assert (kept["second_endpoint"], kept["endpoints_left_out"]) == (None, ["https://b/…"])
    (line,) = [line for line in logs if line["event"] == "endpoints_left_out"]
    assert (line["log_level"], line["endpoints"]) == ("warning", ["https://b/…"])
    assert len(second.calls) == 3


async def test_without_any_trusted_endpoint_there_is_no_proof():
    only = Node("a", getEpochInfo=RpcUnreachable("timed out"))
    chain = Chain(pool_of(only))

    assert [await prove_expiry(chain, ATTEMPT) for _ in range(5)] == [None] * 5
    assert len(only.calls) == 3
