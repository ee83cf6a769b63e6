"""A small clean seed by hand: one liquidation that landed, one attempt that expired."""

from dataclasses import replace
from typing import Any

from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS, Limits
from liqctl.sim.checks_decision import STATUS
from liqctl.sim.evidence import Books, Decided, Duty, Ending, Evidence, Sent, Tried, Truth
from liqctl.sim.journal import Journal, Move

TOLD = {
    "closed_size": 7,
    "price": 140_000_000,
    "reward": 5,
    "is_full": 1,
    "fund_delta": 2,
    "bad_debt_covered": 0,
    "bad_debt_uncovered": 0,
}
FIRST = {
    "encoding": "base64",
    "skipPreflight": False,
    "preflightCommitment": "confirmed",
    "maxRetries": 0,
    "minContextSlot": 9,
}
AGAIN = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
TRIAL = {"encoding": "base64", "sigVerify": False, "replaceRecentBlockhash": True}
COST = 205_000 + TOKEN_ACCOUNT_RENT_LAMPORTS
START_MS = 1_000_000


def raw(signature: str) -> bytes:
    return b"\x01" + bytes(64) + signature.encode()


def attempt(signature: str, intent_id: int, state: str, **changes: Any) -> dict[str, Any]:
    row = {
        "sig": signature,
        "intent_id": intent_id,
        "n": 1,
        "raw": raw(signature),
        "state": state,
        "cu_limit": 200_000,
        "cu_price": 1_000_000,
        "max_cost_lamports": COST,
        "signed_ms": START_MS,
        "final_slot": None,
        "fee_paid": None,
        "cost_lamports": None,
        "proof_json": None,
        "program": "program",
        "position": f"position {intent_id}",
        "generation": 1,
        "step": 1,
        "decision_slot": 8,
    }
    return row | changes


def liquidation(signature: str, **changes: Any) -> dict[str, Any]:
    row = {
        "signature": signature,
        "liquidated_size": 7,
        "liquidation_price": 140_000_000,
        "liquidator_reward": 5,
        "is_full_liquidation": 1,
        "fund_delta": 2,
        "bad_debt": 0,
        "bad_debt_uncovered": 0,
    }
    return row | changes


def moves(table: str, key: str, intent_id: int, at_s: float, *states: str) -> list[Move]:
    """One move a second through the states."""
    return [
        Move(
            at_s=at_s + number,
            keeper="keeper0",
            life="keeper0.1",
            table=table,
            key=key,
            intent_id=intent_id,
            before=before,
            after=after,
            signed_ms=START_MS if not before and table == "attempt" else 0,
            owner="keeper0.1",
            lease_until_ms=START_MS + 20_000,
        )
        for number, (before, after) in enumerate(zip(("", *states), states, strict=False))
    ]


def journal(*parts: list[Move]) -> Journal:
    made = Journal("k.db")
    made.commit(sorted((move for part in parts for move in part), key=lambda move: move.at_s))
    return made


def books(**changes: Any) -> Books:
    made = Books(
        path="k.db",
        liquidator="payer",
        journal=journal(
            moves("intent", "key 1", 1, 0.0, "NEW", "OPEN"),
            moves("attempt", "done", 1, 0.5, "SIGNED", "SENT", "SEEN", "FINALIZED_OK"),
            moves("intent", "key 1", 1, 5.0, "OPEN", "DONE")[1:],
            moves("intent", "key 2", 2, 0.0, "NEW", "OPEN"),
            moves("attempt", "late", 2, 0.6, "SIGNED", "SENT", "EXPIRED"),
        ),
        keepers=("keeper0",),
        limits=Limits(),
        attempts=[
            attempt("done", 1, "FINALIZED_OK", final_slot=20, fee_paid=5_000, cost_lamports=6_000),
            attempt("late", 2, "EXPIRED", proof_json="{}"),
        ],
        intents=[
            {"id": 1, "key": "key 1", "state": "DONE"},
            {"id": 2, "key": "key 2", "state": "OPEN"},
        ],
        liquidations=[liquidation("done")],
        states={STATUS: (status(), 100_000)},
        indexes=frozenset({"attempt_one_live"}),
    )
    return replace(made, **changes)


def status(**changes: Any) -> dict[str, Any]:
    return {"coverage": {"positions": 2}, "check_age_ms": 100, **changes}


def evidence(book: Books | None = None, **changes: Any) -> Evidence:
    made = Evidence(
        seed=7,
        heal_s=50.0,
        end_s=100.0,
        live_within_s=30.0,
        terminal_within_s=40.0,
        books=[books() if book is None else book],
        final={"done": landed("done")},
        seen={"done": 0.6, "late": 0.7},
        sends=[sent("done"), sent("done", AGAIN), sent("late")],
        tried=[tried("done"), tried("late")],
        roots=[(0.0, 10), (2.0, 60)],
        last_heights={"done": 50, "late": 50},
        decided=[Decided(at_s=0.5, attempt="done", position="position 1")],
        positions=frozenset({2}),
        dry=frozenset({"dry"}),
        end_unix_ms=100_500,
    )
    return replace(made, **changes)


def landed(signature: str, **changes: Any) -> Truth:
    made = Truth(
        signature=signature,
        slot=20,
        fee_lamports=5_000,
        cost_lamports=6_000,
        failed=False,
        told=TOLD,
        final_at_s=3.0,
    )
    return replace(made, **changes)


def sent(signature: str, options: dict[str, Any] | None = None, keeper: str = "keeper0") -> Sent:
    return Sent(
        at_s=0.6, keeper=keeper, signature=signature, options=FIRST if options is None else options
    )


def tried(signature: str, **changes: Any) -> Tried:
    made = Tried(
        at_s=0.4,
        keeper="keeper0",
        message=raw(signature)[65:],
        slot=9,
        failed=False,
        options=TRIAL,
    )
    return replace(made, **changes)


def duty(since_s: float = 10.0) -> Duty:
    return Duty(position="position 3", since_s=since_s)


def ending(how: str, **changes: Any) -> Ending:
    return replace(Ending(keeper="keeper0.1", at_s=20.0, how=how), **changes)
