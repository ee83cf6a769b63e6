"""The Protocols between the core and the world, and the few lines that really read clock and chance."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from liqctl.core.account import Account, Decoded, Seen
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.intent import Attempt, Claim, Ending, IntentRequest, IntentState
from liqctl.core.position import Market, Position
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


class Clock(Protocol):
    """Time of this host: wall time for records, monotonic time for waiting."""

    def unix_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        ...

    def monotonic_ns(self) -> int:
        """Return a time that never goes back, in nanoseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Rng(Protocol):
    """Chance: jitter, identifiers, scenarios."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def token(self, length: int) -> str:
        """Return `length` lower-case hexadecimal digits."""
        ...


class Rpc(Protocol):
    """One JSON-RPC endpoint or pool."""

    async def call(self, method: str, params: Sequence[object]) -> object:
        """Return the `result` member.

        Raises:
            RpcUnreachable: no answer.
            RpcRefused: an error object, or an HTTP status other than 200.
            RpcMalformed: not a JSON-RPC answer.
        """
        ...


class Signer(Protocol):
    """The liquidator's key, wherever it lives."""

    @property
    def address(self) -> str:
        """The public key in base58."""
        ...

    async def sign(self, message: bytes) -> bytes:
        """Return the 64-byte ed25519 signature of the message."""
        ...


class Notifier(Protocol):
    """Where alerts go."""

    async def notify(self, title: str, body: str, *, severity: str) -> None:
        """Deliver one alert or raise."""
        ...


@runtime_checkable
class Venue(Protocol):
    """One on-chain program: bytes to values, verdict, instructions. Pure."""

    id: str
    program_id: str

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of each account kind that a snapshot needs, by kind name."""
        ...

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error."""
        ...

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return the addresses that the verdict depends on beside the position, as far as known."""
        ...

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        ...

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the program's verdict at the cluster time `now_s`; total, never an error."""
        ...

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price in 1e-6 that verdicts of the market use, or the word why there is none."""
        ...

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price that the liquidation price cannot lie beyond, for the book.

        A long can only be liquidatable at or below it, a short at or above it. None: no such
        price is known and the position is always looked at.
        """
        ...

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the instructions that liquidate the position for this liquidator."""
        ...

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's own read-only view of the verdict, where it has one."""
        ...

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means."""
        ...

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return what the program says it did (closed_size, reward, ...), or None if it is silent."""
        ...

    def insurance_address(self) -> str | None:
        """Return the address of the insurance fund, where the venue has one."""
        ...


class Store(Protocol):
    """The durable record. Calls block: run them in the store's executor, one at a time.

    Times are parameters in unix milliseconds: no statement reads a clock. Every method may raise
    StoreError, and then nothing was written. Healths come back finite, or NaN if they were NaN.
    """

    def close(self) -> None:
        """Release the database."""
        ...

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease, or None when somebody else holds it.

        An intent of this generation that has not ended is taken up again; otherwise a new one is
        recorded, with the next step number. None too while it is HELD or has a live attempt.
        """
        ...

    def renew(self, claim: Claim, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; False when it is no longer ours."""
        ...

    def record_attempt(self, claim: Claim, attempt: Attempt, now_ms: int) -> bool:
        """Commit a SIGNED attempt durably and open its intent; False when the claim is not ours.

        Raises:
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

    def live_attempts(self) -> list[Attempt]:
        """Return every attempt that is not terminal, oldest first."""
        ...

    def unpriced_attempts(self, limit: int) -> list[Attempt]:
        """Return final attempts whose fee no node has told yet, newest first."""
        ...

    def price_attempt(
        self, signature: str, fee_lamports: int, liquidation: Liquidation | None
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
        """Return fees of final attempts plus the maximum cost of live ones, signed since then."""
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

    def take_orders(self, now_ms: int) -> list[QueueRow]:
        """Return rows with an order and carry out what outlasts the rows, in one commit.

        The orders are cleared. Of dropped positions the row goes and an exclusion stays; a retry
        ends an exclusion.
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

    def queue(self) -> list[QueueRow]:
        """Return all rows, least health first."""
        ...

    def recent_liquidations(
        self, *, symbol: str | None = None, position: str | None = None, limit: int = 50
    ) -> list[Liquidation]:
        """Return the newest liquidations first."""
        ...

    def recent_failures(self, *, position: str | None = None, limit: int = 50) -> list[FailureRow]:
        """Return the newest failures first."""
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


class SystemClock:
    """The clock of this host."""

    def unix_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return a time that never goes back, in nanoseconds."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemRng:
    """Chance from the operating system, or from a seed."""

    def __init__(self, seed: int | None = None) -> None:
        """Draw from the system without a seed, reproducibly with one."""
        self._source = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - scenarios, not secrets

    def random(self) -> float:
        """Return a float in [0, 1)."""
        return self._source.random()

    def token(self, length: int) -> str:
        """Return `length` lower-case hexadecimal digits."""
        return f"{self._source.getrandbits(4 * length):0{length}x}"
