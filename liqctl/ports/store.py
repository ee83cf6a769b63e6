"""The durable record: what is due, what was signed, what became of it."""

from collections.abc import Sequence
from typing import Protocol

from liqctl.core.guards import SpendCaps
from liqctl.core.intent import Attempt, Claim, Ending, IntentRequest, IntentState
from liqctl.core.record import (
    EventRow,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    QueueOrder,
    QueueRow,
    Totals,
)
from liqctl.ports.archive import AlertBook, Archive


class Store(Archive, AlertBook, Protocol):
    """The durable record. Calls block: run them in the store's executor, one at a time.

    Several keepers, one for each venue, may share a store; what a keeper works off can be asked
    for by venue, exclusions are for all.

    Times are parameters in unix milliseconds: no statement reads a clock, but that of a database
    which several hosts share, for leases; there only their length is the caller's. Every method may
    raise StoreError, and then nothing was written. Healths come back finite, or NaN if they were NaN.
    """

    def close(self) -> None:
        """Release the database."""
        ...

    def hurry(self) -> None:
        """From now on wait only briefly for a database that gives no answer: the program ends.

        Unlike the others it may be called while another call is under way.
        """
        ...

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease, or None when somebody else holds it.

        An intent of this generation that has not ended is taken up again; otherwise a new one is
        recorded, with the next step number. None too while it is HELD, or while an attempt for
        the position is live, of whatever generation.
        """
        ...

    def renew(self, claim: Claim, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; False when it is no longer ours."""
        ...

    def record_attempt(
        self,
        claim: Claim,
        attempt: Attempt,
        now_ms: int,
        *,
        decision_slot: int | None = None,
        caps: SpendCaps | None = None,
    ) -> bool:
        """Commit a SIGNED attempt durably and open its intent; False when the claim is not ours.

        False too while an attempt for another generation or step of the position is live.
        The slot is that of the state which was judged. The caps are counted in the same commit:
        no two keepers spend the same lamports.

        Raises:
            SpendCapReached: its cost is more than the caps leave; nothing was written.
            StoreError: nothing was written; nothing may be sent. Also when another attempt of the
                intent is live.
        """
        ...

    def mark_sent(self, signature: str, now_ms: int) -> None:
        """Count a send; SIGNED becomes SENT."""
        ...

    def mark_seen(self, signature: str, slot: int, level: str) -> None:
        """Note that a node reported the transaction below finalized."""
        ...

    def mark_unseen(self, signature: str) -> None:
        """Return a SEEN attempt to SENT: the node no longer knows it."""
        ...

    def end_attempt(
        self,
        signature: str,
        ending: Ending,
        *,
        liquidation: Liquidation | None,
        failure: FailureRow | None,
        intent_state: IntentState | None,
        now_ms: int,
    ) -> None:
        """Make an attempt terminal with everything that follows from it, in one commit.

        A liquidation also appends its `liquidation` event. `intent_state` None leaves the intent
        open and frees its lease.
        The same ending again only fills in what was not known the first time.

        Raises:
            StoreError: no such attempt, an edge that does not exist, or EXPIRED without a proof.
        """
        ...

    def end_intent(self, claim: Claim, state: IntentState, reason: str, now_ms: int) -> bool:
        """End or hold an intent without a live attempt, and release the lease.

        False when the claim is not ours any more.
        """
        ...

    def reopen_held(self, now_ms: int, *, position: str | None = None) -> int:
        """Return HELD intents (of one position) to OPEN; how many."""
        ...

    def release(self, claim: Claim, now_ms: int) -> None:
        """Give up the lease; the intent stays as it is."""
        ...

    def live_attempts(self, program: str | None = None) -> list[Attempt]:
        """Return every attempt (for one program) that is not terminal, oldest first.

        By program and not by venue: the name of a mapped one is the user's, who may change it.
        """
        ...

    def unpriced_attempts(self, limit: int, program: str | None = None) -> list[Attempt]:
        """Return final attempts (for one program) whose fee no node has told yet, newest first."""
        ...

    def price_attempt(
        self,
        signature: str,
        fee_lamports: int,
        cost_lamports: int | None,
        liquidation: Liquidation | None,
    ) -> None:
        """Fill in what the ledger told later; what is known already stays."""
        ...

    def intent_of(self, signature: str) -> tuple[IntentRequest, int, str] | None:
        """Return request, id and state of the intent that an attempt belongs to."""
        ...

    def adopt(self, intent_id: int, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return a claim on an existing open intent after a restart, or None if it is leased."""
        ...

    def spent_lamports(self, since_ms: int) -> int:
        """Return what attempts signed since then cost or can have cost at most, in lamports.

        Live ones count whenever they were signed, those proven never to land do not.
        """
        ...

    def record_failure(self, failure: FailureRow) -> None:
        """Append a failure."""
        ...

    def append_event(self, kind: str, body_json: str, now_ms: int) -> int:
        """Append to the ordered stream and return its `seq`."""
        ...

    def events_since(self, seq: int, limit: int) -> list[EventRow]:
        """Return events after `seq`, oldest first."""
        ...

    def last_seq(self) -> int:
        """Return the newest `seq` ever given, pruned or not; 0 before the first."""
        ...

    def prune_events(self, keep: int) -> int:
        """Delete the oldest events beyond the newest `keep`, a bounded number a call; how many."""
        ...

    def record_insurance(self, sample: InsuranceSample) -> None:
        """Append a balance of the fund."""
        ...

    def insurance_history(self, limit: int) -> list[InsuranceSample]:
        """Return the latest samples, oldest first."""
        ...

    def put_queue(self, rows: Sequence[QueueRow], removed: Sequence[str]) -> None:
        """Write queue rows by position, except those with an order waiting, and delete others."""
        ...

    def order_queue(self, rows: Sequence[QueueRow]) -> int:
        """Write rows with an order for the running keeper; return how many."""
        ...

    def set_order(self, position: str, order: QueueOrder) -> bool:
        """Set an order on an existing row; False when there is none."""
        ...

    def version(self) -> int:
        """Return a number that is another one after a commit of another connection."""
        ...

    def take_orders(self, now_ms: int, venue: str | None = None) -> list[QueueRow]:
        """Return rows (of one venue) with an order and carry out what outlasts them, in one commit.

        The orders are cleared. Of dropped positions the row goes and an exclusion stays; a retry
        ends an exclusion and returns a HELD intent to OPEN.
        """
        ...

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep an exclusion in place of an earlier one; a retry that waits is cancelled.

        Exclusions that had run out by then are forgotten.
        """
        ...

    def include(self, position: str) -> bool:
        """Forget an exclusion, and a drop that waits; False when there was neither."""
        ...

    def exclusions(self) -> list[Exclusion]:
        """Return what is excluded, by position; some may have run out."""
        ...

    def queue(self, venue: str | None = None) -> list[QueueRow]:
        """Return all rows (of one venue), least health first."""
        ...

    def recent_liquidations(
        self,
        *,
        symbol: str | None = None,
        position: str | None = None,
        venue: str | None = None,
        limit: int = 50,
    ) -> list[Liquidation]:
        """Return the newest liquidations first."""
        ...

    def recent_failures(  # noqa: PLR0913 - optional filters
        self,
        *,
        position: str | None = None,
        symbol: str | None = None,
        failure_class: str | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[FailureRow]:
        """Return the newest failures first; `since_ms` is included and `until_ms` is not."""
        ...

    def totals(self) -> Totals:
        """Return counts and sums over everything recorded."""
        ...

    def put_state(self, name: str, value_json: str, now_ms: int) -> None:
        """Write one named piece of the keeper's state for other programs to read."""
        ...

    def state(self, name: str) -> tuple[str, int] | None:
        """Return a named piece of state and when it was written."""
        ...

    def take_state(self, name: str, value_json: str, now_ms: int, lapse_ms: int) -> bool:
        """Write a named state unless another value stands there that has not lapsed.

        A value lapses `lapse_ms` after it was written, or where it claims to be written so far
        ahead. True when this value stands there now.
        """
        ...

    def forget_state(self, name: str, before_ms: int) -> bool:
        """Delete a named piece of state that was written before then; False when there is none."""
        ...
