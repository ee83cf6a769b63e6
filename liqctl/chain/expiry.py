"""The expiry proof: the evidence that an attempt has not landed and never can."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from liqctl.chain.answers import Commitment, Epoch
from liqctl.chain.client import HISTORY_PER_CALL, Chain
from liqctl.chain.rpc import NO_HISTORY
from liqctl.chain.transaction import payer_of
from liqctl.core.intent import Attempt, AttemptState
from liqctl.errors import RpcError, RpcRefused

HISTORY_PAGES_MAX = 20
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The answers that together prove that a signature is not and will not be on the chain."""

    signature: str
    slot: int
    block_height: int
    json: str


class _Unproven(Exception):
    """A condition does not hold; the text says which."""


class _Endless(_Unproven):
    """The history of an address is too long to be read to its end."""


class _Contradicted(_Unproven):
    """An endpoint shows that it landed or still may: then no other one can prove that not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    """The answers of one endpoint to E1 to E5."""

    endpoint: Chain
    epoch: Epoch
    blockhash_slot: int
    status_slot: int
    history_address: str
    history_read: int
    first_slot: int


async def prove_expiry(chain: Chain, attempt: Attempt) -> Proof | None:
    """Return the proof that the attempt has expired, or None when there is none this round.

    All conditions must hold on one endpoint: the finalized height is past the last valid one
    (E1), the blockhash is not valid any more (E2), the status is unknown at that slot or later
    (E3), the finalized history of the position, or of the payer, lacks the signature (E4) and reaches back to the
    slot of the blockhash (E5). Where one endpoint cannot prove it, the next one is asked. Of
    several endpoints another one must confirm E3; only those with an open breaker are left out,
    which the log and the proof tell. No time that passed and no single answer is ever a proof.
    An attempt that some node has SEEN cannot be proven expired before it is unseen again.
    """
    endpoints = chain.endpoints()
    left_out = [one.shown_url for one in endpoints if not one.trusted]
    trusted = [one for one in endpoints if one.trusted]
    try:
        _check_unseen(attempt)
        if left_out:
            log.warning("endpoints_left_out", signature=attempt.signature, endpoints=left_out)
        found = await _absence(trusted, attempt)
        others = [one for one in trusted if one is not found.endpoint]
        second = await _confirmed(others, attempt, found.epoch.slot)
    except _Unproven as reason:
        log.debug("expiry_unproven", signature=attempt.signature, reason=str(reason))
        return None
    return Proof(
        signature=attempt.signature,
        slot=found.epoch.slot,
        block_height=found.epoch.block_height,
        json=json.dumps(
            {**_told(found, attempt), "second_endpoint": second, "endpoints_left_out": left_out}
        ),
    )


def _told(found: _Absence, attempt: Attempt) -> dict[str, object]:
    return {
        "endpoint": found.endpoint.shown_url,
        "finalized_slot": found.epoch.slot,
        "finalized_block_height": found.epoch.block_height,
        "last_valid_block_height": attempt.last_valid_block_height,
        "blockhash": attempt.blockhash,
        "blockhash_valid": False,
        "blockhash_context_slot": found.blockhash_slot,
        "status": None,
        "status_context_slot": found.status_slot,
        "history_address": found.history_address,
        "history_entries": found.history_read,
        "min_context_slot": attempt.min_context_slot,
        "first_available_slot": found.first_slot,
    }


async def _absence(endpoints: Sequence[Chain], attempt: Attempt) -> _Absence:
    """Return the answers of the first endpoint on which all conditions hold."""
    reasons: list[str] = []
    for one in endpoints:
        try:
            epoch = await _finalized_past_validity(one, attempt)
            # Asked before and after what rests on it: behind one address nodes come and go.
            await _history_reaches(one, attempt)
            blockhash_slot = await _blockhash_invalid(one, attempt, epoch.slot)
            status_slot = await _status_unknown(one, attempt, epoch.slot)
            address, read = await _absent_from_history(one, attempt, epoch.slot)
            return _Absence(
                endpoint=one,
                epoch=epoch,
                blockhash_slot=blockhash_slot,
                status_slot=status_slot,
                history_address=address,
                history_read=read,
                first_slot=await _history_reaches(one, attempt),
            )
        except _Contradicted:
            raise
        except (_Unproven, RpcError) as reason:
            reasons.append(str(reason))
    raise _Unproven("; ".join(reasons) or "no endpoint is trusted")


async def _confirmed(
    others: Sequence[Chain], attempt: Attempt, slot: int
) -> dict[str, object] | None:
    """Return the answer of another endpoint to E3, None where no other one can witness.

    All of them are asked: one that is too far behind to confirm, or that keeps no history and can
    confirm nothing, may still have the transaction.
    """
    confirmed: dict[str, object] | None = None
    reasons: list[str] = []
    for one in others:
        try:
            status_slot = await _status_unknown(one, attempt, slot)
        except _Contradicted:
            raise
        except RpcRefused as reason:
            if reason.code == NO_HISTORY:
                await _not_in_cache(one, attempt)
            else:
                reasons.append(str(reason))
            continue
        except (_Unproven, RpcError) as reason:
            reasons.append(str(reason))
            continue
        confirmed = confirmed or {"endpoint": one.shown_url, "status_context_slot": status_slot}
    if confirmed is None and reasons:
        raise _Unproven(f"no second endpoint confirms it: {'; '.join(reasons)}")
    return confirmed


async def _not_in_cache(chain: Chain, attempt: Attempt) -> None:
    """Contradict if a node without history knows the transaction all the same."""
    try:
        answer = await chain.statuses([attempt.signature], search_history=False)
    except RpcError as reason:
        log.debug("no_witness", endpoint=chain.shown_url, reason=str(reason))
        return
    if answer.statuses[0] is not None:
        raise _Contradicted(f"{chain.shown_url} knows the transaction")


def _check_unseen(attempt: Attempt) -> None:
    if attempt.state not in (AttemptState.SIGNED, AttemptState.SENT):
        raise _Unproven(f"the attempt is {attempt.state}")


async def _finalized_past_validity(chain: Chain, attempt: Attempt) -> Epoch:
    """E1: `>` and not `>=`, because the block after the last valid one may still carry it."""
    epoch = await chain.epoch_info(Commitment.FINALIZED, min_context_slot=attempt.min_context_slot)
    if epoch.block_height <= attempt.last_valid_block_height:
        raise _Unproven(
            f"finalized height {epoch.block_height} is not past {attempt.last_valid_block_height}"
        )
    return epoch


async def _blockhash_invalid(chain: Chain, attempt: Attempt, slot: int) -> int:
    """E2: guards against a node that told a last valid height that is too low."""
    answer = await chain.is_blockhash_valid(
        attempt.blockhash, Commitment.FINALIZED, min_context_slot=slot
    )
    if answer.valid:
        raise _Contradicted("the blockhash is still valid")
    return answer.context_slot


async def _status_unknown(chain: Chain, attempt: Attempt, slot: int) -> int:
    """E3: the status cache, then the ledger. The call takes no minContextSlot, hence the check."""
    answer = await chain.statuses([attempt.signature])
    if answer.statuses[0] is not None:
        raise _Contradicted(f"the node knows the transaction: {answer.statuses[0].level}")
    if answer.context_slot < slot:
        raise _Unproven(f"the status is from slot {answer.context_slot}, before {slot}")
    return answer.context_slot


async def _absent_from_history(chain: Chain, attempt: Attempt, slot: int) -> tuple[str, int]:
    """E4: the one question about absence that a node behind the slot refuses to answer.

    Returns whose history was read, and how many entries. Anybody can fill that of a position, and
    it grows for as long as nobody has proven anything: then that of the payer is read.
    """
    try:
        return attempt.position, await _absent_at(chain, attempt.position, attempt, slot)
    except _Endless:
        payer = payer_of(attempt.raw)
        return payer, await _absent_at(chain, payer, attempt, slot)


async def _absent_at(chain: Chain, address: str, attempt: Attempt, slot: int) -> int:
    """Return how many entries were read back to the blockhash.

    A full last page proves no end: a node that has lost the cursor answers with an empty page too.
    """
    read, before, last_page_full = 0, None, False
    for _ in range(HISTORY_PAGES_MAX):
        page = await chain.signatures_for_address(address, min_context_slot=slot, before=before)
        if any(entry.signature == attempt.signature for entry in page):
            raise _Contradicted("the finalized history has the transaction")
        if not page:
            if last_page_full:
                raise _Unproven("the history broke off after a full page")
            return read
        read += len(page)
        if page[-1].slot < attempt.min_context_slot:
            return read
        before, last_page_full = page[-1].signature, len(page) == HISTORY_PER_CALL
    raise _Endless(f"the history of {address} has no end within {HISTORY_PAGES_MAX} pages")


async def _history_reaches(chain: Chain, attempt: Attempt) -> int:
    """E5: a pruned or freshly restored node cannot prove that something is absent."""
    first_slot = await chain.first_available_block()
    if first_slot > attempt.min_context_slot:
        raise _Unproven(f"the ledger begins at slot {first_slot}, after {attempt.min_context_slot}")
    return first_slot
