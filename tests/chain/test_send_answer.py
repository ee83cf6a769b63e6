"""What an answer to a send means, case by case."""

import pytest

from liqctl.chain.send_answer import SendKind, classify_send_error
from liqctl.errors import RpcMalformed, RpcRefused, RpcUnreachable


def preflight(err: object, **more: object) -> RpcRefused:
    return RpcRefused("Transaction simulation failed", code=-32002, detail={"err": err, **more})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RpcUnreachable("refused"), SendKind.TRANSIENT),
        (RpcRefused("busy", code=503), SendKind.TRANSIENT),
        (RpcRefused("slow down", code=429), SendKind.TRANSIENT),
        (RpcRefused("behind by 200 slots", code=-32005), SendKind.TRANSIENT),
        (RpcRefused("minimum context slot", code=-32016), SendKind.TRANSIENT),
        (RpcRefused("forbidden", code=403), SendKind.TRANSIENT),
        (preflight("AlreadyProcessed"), SendKind.SEEN_ALREADY),
        (preflight("BlockhashNotFound"), SendKind.UNKNOWN_BLOCKHASH),
        (preflight({"InstructionError": [2, {"Custom": 6003}]}), SendKind.HOPELESS),
        (preflight({"InstructionError": [0, "InsufficientFundsForFee"]}), SendKind.HOPELESS),
        (preflight("InsufficientFundsForFee"), SendKind.BROKE),
        (preflight("AccountNotFound"), SendKind.BROKE),
        (preflight({"InsufficientFundsForRent": {"account_index": 3}}), SendKind.HOPELESS),
        (preflight("ProgramAccountNotFound"), SendKind.HOPELESS),
        (preflight("AccountInUse"), SendKind.TRANSIENT),
        (preflight("SanitizeFailure"), SendKind.REJECTED_BUG),
        (preflight(None), SendKind.TRANSIENT),
        (preflight({"strange": [1]}, logs=7), SendKind.TRANSIENT),
        (RpcRefused("no data", code=-32002), SendKind.TRANSIENT),
        (RpcRefused("signature", code=-32003), SendKind.REJECTED_BUG),
        (RpcRefused("invalid params", code=-32602), SendKind.REJECTED_BUG),
        (RpcMalformed("another signature"), SendKind.LYING),
    ],
)
def test_each_answer_has_its_class(error, kind):
    assert classify_send_error(error).kind is kind


def test_a_hopeless_answer_keeps_the_failure_and_its_logs():
    found = classify_send_error(preflight({"InstructionError": [2, {"Custom": 6003}]}, logs=["a"]))

    assert found.failure is not None
    assert (found.failure.instruction, found.failure.code) == (2, 6003)
    assert found.failure.logs == ("a",)


def test_the_pause_that_the_node_asks_for_is_kept():
    error = RpcRefused("slow down", code=429, retry_after_s=7.0)

    assert classify_send_error(error).retry_after_s == 7.0
