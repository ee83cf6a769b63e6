"""What a store in memory holds, and the two records of it that change in place."""

import json
from dataclasses import dataclass, field

from liqctl.core.alert import Alert, Delivery
from liqctl.core.intent import (
    ATTEMPT_EDGES,
    INTENT_EDGES,
    LIVE,
    Attempt,
    AttemptState,
    Claim,
    Ending,
    IntentRequest,
    IntentState,
)
from liqctl.core.record import (
    EventRow,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    PositionRow,
    PriceRow,
    QueueRow,
)
from liqctl.errors import StoreError

CLAIMABLE = frozenset({IntentState.NEW, IntentState.OPEN})
EXPIRED = frozenset({AttemptState.EXPIRED, AttemptState.VOID})


@dataclass(slots=True, kw_only=True)
class KeptIntent:
    """An intent with its lease and its attempts."""

    id: int
    request: IntentRequest
    step: int
    owner: str | None = None
    fence: int = 0
    lease_until: int = 0
    state: IntentState = IntentState.NEW
    reason: str = ""
    attempts: list["KeptAttempt"] = field(default_factory=list)

    def is_held_by(self, claim: Claim) -> bool:
        """Return whether the claim is the latest."""
        return self.owner == claim.owner and self.fence == claim.fence

    def has(self, *states: AttemptState) -> bool:
        """Return whether one of its attempts is in one of these states."""
        return any(attempt.row.state in states for attempt in self.attempts)

    def move(self, state: IntentState, reason: str) -> None:
        """Go along an allowed edge, or raise."""
        if state != self.state and (self.state, state) not in INTENT_EDGES:
            raise StoreError(f"intent: forbidden edge {self.state} -> {state}")
        if state not in CLAIMABLE and self.has(*LIVE):
            raise StoreError("intent: an attempt is live")
        if state is IntentState.DONE and not self.has(AttemptState.FINALIZED_OK):
            raise StoreError("intent: DONE without a finalized attempt")
        self.state, self.reason, self.owner, self.lease_until = state, reason, None, 0


@dataclass(slots=True, kw_only=True)
class KeptAttempt:
    """An attempt with its end."""

    row: Attempt
    intent: KeptIntent
    ending: Ending | None = None
    first_sent_ms: int | None = None
    ended_ms: int | None = None

    def check(self, ending: Ending) -> None:
        """Raise unless the attempt may end like this."""
        state = self.row.state
        if state != ending.state and (state, ending.state) not in ATTEMPT_EDGES:
            raise StoreError(f"attempt: forbidden edge {state} -> {ending.state}")
        known = ending.proof_json or (self.ending and self.ending.proof_json)
        if ending.state in EXPIRED and known is None:
            raise StoreError(f"attempt: {ending.state} without a proof")
        if ending.state is AttemptState.VOID and self.row.sends:
            raise StoreError("attempt: VOID although it was sent")

    def lamports(self) -> int:
        """Return what it cost, or the most that it can have cost while nobody has told that."""
        if self.row.state in EXPIRED:
            return 0
        cost = None if self.ending is None else self.ending.cost_lamports
        return self.row.max_cost_lamports if cost is None else cost


class MemoryTables:
    """The rows of a store in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._intents: list[KeptIntent] = []
        self._attempts: dict[str, KeptAttempt] = {}
        self._liquidations: dict[str, Liquidation] = {}
        self._failures: list[FailureRow] = []
        self._events: list[EventRow] = []
        self._last_seq = 0
        self._versions = 0
        self._samples: list[InsuranceSample] = []
        self._queue: dict[str, QueueRow] = {}
        self._exclusions: dict[str, Exclusion] = {}
        self._state: dict[str, tuple[str, int]] = {}
        self._positions: dict[str, PositionRow] = {}
        self._prices: dict[tuple[str, str], PriceRow] = {}
        self._alerts: dict[int, Alert] = {}
        self._deliveries: dict[int, Delivery] = {}
        self._last_alert = 0
        self._last_delivery = 0

    def append_event(self, kind: str, body_json: str, now_ms: int) -> int:
        """Append to the ordered stream and return its `seq`."""
        require_json(body_json)
        self._last_seq += 1
        row = EventRow(seq=self._last_seq, kind=kind, at_ms=now_ms, body_json=body_json)
        self._events.append(row)
        return self._last_seq


def require_json(text: str) -> None:
    """Refuse what is no JSON document, as the database does."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise StoreError(f"not a JSON document: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(name)
