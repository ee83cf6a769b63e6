"""What an answer to `sendTransaction` means for pacing; none of them makes an attempt terminal."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.chain.wire import PreflightForm, failure_of, parsed
from liqctl.core.instruction import Failure
from liqctl.errors import RpcError, RpcMalformed, RpcRefused

PREFLIGHT_FAILED = -32002
SIGNATURE_WRONG = -32003
PARAMETERS_WRONG = -32602
_OF_OURS = frozenset({SIGNATURE_WRONG, PARAMETERS_WRONG})


class SendKind(StrEnum):
    """What to do after a send; the transaction may have left in every case."""

    SENT = "sent"
    TRANSIENT = "transient"
    SEEN_ALREADY = "seen_already"
    UNKNOWN_BLOCKHASH = "unknown_blockhash"
    HOPELESS = "hopeless"
    BROKE = "broke"
    REJECTED_BUG = "rejected_bug"
    LYING = "lying"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAnswer:
    """The class of an answer, with the failure that a preflight reported.

    TRANSIENT: send the same bytes again, after `retry_after_s` if given. SEEN_ALREADY: ask for
    the status. UNKNOWN_BLOCKHASH: go on polling. HOPELESS and BROKE: stop rebroadcasting, poll
    to the end. REJECTED_BUG: halt the intent. LYING: do not trust the endpoint.
    """

    kind: SendKind
    failure: Failure | None = None
    retry_after_s: float | None = None


SENT = SendAnswer(kind=SendKind.SENT)
_KINDS = {
    "AlreadyProcessed": SendKind.SEEN_ALREADY,
    "BlockhashNotFound": SendKind.UNKNOWN_BLOCKHASH,
    "InsufficientFundsForFee": SendKind.BROKE,
    "AccountNotFound": SendKind.BROKE,
    "AccountLoadedTwice": SendKind.REJECTED_BUG,
    "DuplicateInstruction": SendKind.REJECTED_BUG,
    "InvalidAccountIndex": SendKind.REJECTED_BUG,
    "MissingSignatureForFee": SendKind.REJECTED_BUG,
    "SanitizeFailure": SendKind.REJECTED_BUG,
    "SignatureFailure": SendKind.REJECTED_BUG,
    "TooManyAccountLocks": SendKind.REJECTED_BUG,
    "UnsupportedVersion": SendKind.REJECTED_BUG,
    "AccountInUse": SendKind.TRANSIENT,
    "ClusterMaintenance": SendKind.TRANSIENT,
    "WouldExceedAccountDataBlockLimit": SendKind.TRANSIENT,
    "WouldExceedAccountDataTotalLimit": SendKind.TRANSIENT,
    "WouldExceedMaxAccountCostLimit": SendKind.TRANSIENT,
    "WouldExceedMaxBlockCostLimit": SendKind.TRANSIENT,
    "WouldExceedMaxVoteCostLimit": SendKind.TRANSIENT,
}


def classify_send_error(error: RpcError) -> SendAnswer:
    """Return what an error of Chain.send means."""
    match error:
        case RpcRefused() if error.code == PREFLIGHT_FAILED:
            return _preflight(error)
        case RpcRefused() if error.code in _OF_OURS:
            return SendAnswer(kind=SendKind.REJECTED_BUG)
        case RpcRefused():
            return SendAnswer(kind=SendKind.TRANSIENT, retry_after_s=error.retry_after_s)
        case RpcMalformed():
            return SendAnswer(kind=SendKind.LYING)
        case _:
            return SendAnswer(kind=SendKind.TRANSIENT)


def _preflight(error: RpcRefused) -> SendAnswer:
    try:
        form = parsed(error.detail, PreflightForm, "sendTransaction")
        failure = failure_of(form.err, tuple(form.logs or ()))
    except RpcMalformed:
        failure = None
    if failure is None:
        return SendAnswer(kind=SendKind.TRANSIENT)
    return SendAnswer(kind=_kind_of(failure), failure=failure)


def _kind_of(failure: Failure) -> SendKind:
    if failure.instruction is not None:
        return SendKind.HOPELESS
    return _KINDS.get(failure.name, SendKind.HOPELESS)
