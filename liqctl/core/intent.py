"""Intents and attempts: what is to be done, and each signed transaction for it.

The states and edges are those that the store enforces; see docs/ARCHITECTURE.md.
"""

from dataclasses import dataclass
from enum import StrEnum


class IntentState(StrEnum):
    """Where one thing to do to one position stands."""

    NEW = "NEW"
    OPEN = "OPEN"
    HELD = "HELD"
    DONE = "DONE"
    GONE = "GONE"
    FAILED = "FAILED"


class AttemptState(StrEnum):
    """Where one signed transaction stands."""

    SIGNED = "SIGNED"
    SENT = "SENT"
    SEEN = "SEEN"
    FINALIZED_OK = "FINALIZED_OK"
    FINALIZED_ERR = "FINALIZED_ERR"
    EXPIRED = "EXPIRED"
    VOID = "VOID"


LIVE = frozenset({AttemptState.SIGNED, AttemptState.SENT, AttemptState.SEEN})

ATTEMPT_EDGES = frozenset(
    {
        (AttemptState.SIGNED, AttemptState.SENT),
        (AttemptState.SIGNED, AttemptState.SEEN),
        (AttemptState.SENT, AttemptState.SEEN),
        (AttemptState.SEEN, AttemptState.SENT),
        (AttemptState.SIGNED, AttemptState.FINALIZED_OK),
        (AttemptState.SENT, AttemptState.FINALIZED_OK),
        (AttemptState.SEEN, AttemptState.FINALIZED_OK),
        (AttemptState.SIGNED, AttemptState.FINALIZED_ERR),
        (AttemptState.SENT, AttemptState.FINALIZED_ERR),
        (AttemptState.SEEN, AttemptState.FINALIZED_ERR),
        (AttemptState.SIGNED, AttemptState.EXPIRED),
        (AttemptState.SENT, AttemptState.EXPIRED),
        (AttemptState.SIGNED, AttemptState.VOID),
    }
)

INTENT_EDGES = frozenset(
    {
        (IntentState.NEW, IntentState.OPEN),
        (IntentState.NEW, IntentState.GONE),
        (IntentState.NEW, IntentState.HELD),
        (IntentState.NEW, IntentState.FAILED),
        (IntentState.OPEN, IntentState.DONE),
        (IntentState.OPEN, IntentState.GONE),
        (IntentState.OPEN, IntentState.FAILED),
        (IntentState.OPEN, IntentState.HELD),
        (IntentState.HELD, IntentState.OPEN),
        (IntentState.HELD, IntentState.GONE),
        (IntentState.HELD, IntentState.FAILED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRequest:
    """What a claim is made for: one generation of one position of one program."""

    venue: str
    program: str
    position: str
    generation: int
    decision_slot: int
    snapshot_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An intent held under a lease; every later write carries the fence.

    `attempts` counts the attempts already recorded. `key` is program:position:generation:step.
    What ended last for this position did so by `read_slot_min`: older reads do not show it.
    """

    intent_id: int
    key: str
    owner: str
    fence: int
    attempts: int
    read_slot_min: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed transaction: `raw` are the bytes that may reach anybody, never rewritten."""

    signature: str
    intent_id: int
    n: int
    position: str
    symbol: str
    raw: bytes
    blockhash: str
    last_valid_block_height: int
    min_context_slot: int
    compute_unit_limit: int
    compute_unit_price_micro_lamports: int
    max_cost_lamports: int
    state: AttemptState = AttemptState.SIGNED
    signed_ms: int = 0
    sends: int = 0
    seen_slot: int | None = None
    final_slot: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt became terminal.

    `proof_json` stands with EXPIRED and VOID, `error_json` with FINALIZED_ERR, the fee and the
    whole cost, rent included, with both FINALIZED states (None until the node tells them). By
    `final_slot` it was final or proven absent.
    """

    state: AttemptState
    final_slot: int | None = None
    fee_lamports: int | None = None
    cost_lamports: int | None = None
    error_json: str | None = None
    proof_json: str | None = None
