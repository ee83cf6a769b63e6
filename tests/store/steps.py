"""Steps that tests of the store take again and again."""

from typing import Any

from liqctl.core.intent import Claim, Ending, IntentState
from liqctl.core.record import FailureRow, Liquidation
from liqctl.ports import Store
from tests.store.records import OK, attempt, liquidation, request

LEASE_MS = 20_000


def claimed(store: Store, owner: str = "me", now_ms: int = 0, **changes: Any) -> Claim:
    claim = store.claim(request(**changes), owner, now_ms, LEASE_MS)
    assert claim is not None
    return claim


def recorded(store: Store, signature: str = "sig") -> Claim:
    claim = claimed(store)
    assert store.record_attempt(claim, attempt(claim, signature), 1_000)
    return claim


def end(
    store: Store,
    ending: Ending,
    signature: str = "sig",
    row: Liquidation | None = None,
    failed: FailureRow | None = None,
    intent: IntentState | None = None,
) -> None:
    store.end_attempt(
        signature, ending, liquidation=row, failure=failed, intent_state=intent, now_ms=2_000
    )


def liquidated(store: Store, signature: str, signed_ms: int = 1_000, **changes: Any) -> None:
    """Record an attempt of its own position that ends as this liquidation."""
    venue = changes.get("venue", "reference")
    claim = claimed(store, position=signature, venue=venue)
    assert store.record_attempt(claim, attempt(claim, signature, position=signature), signed_ms)
    row = liquidation(signature, **changes)
    end(store, OK, signature, row=row, intent=IntentState.DONE)
