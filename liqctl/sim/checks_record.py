"""Checkers of the record: what reached anybody is written down, once, rightly and for good."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import ClassVar

from liqctl.sim.checkers import Checker, Found
from liqctl.sim.evidence import Books, Evidence, Row, Truth
from liqctl.sim.journal import LIVE, NEVER_LANDED

ONE_LIVE_INDEX = "attempt_one_live"
FINAL = {"FINALIZED_OK": False, "FINALIZED_ERR": True}
ATTEMPT_EDGES = frozenset(
    {
        ("", "SIGNED"),
        ("SIGNED", "SENT"),
        ("SIGNED", "SEEN"),
        ("SENT", "SEEN"),
        ("SEEN", "SENT"),
        ("SIGNED", "FINALIZED_OK"),
        ("SENT", "FINALIZED_OK"),
        ("SEEN", "FINALIZED_OK"),
        ("SIGNED", "FINALIZED_ERR"),
        ("SENT", "FINALIZED_ERR"),
        ("SEEN", "FINALIZED_ERR"),
        ("SIGNED", "EXPIRED"),
        ("SENT", "EXPIRED"),
        ("SIGNED", "VOID"),
    }
)
INTENT_EDGES = frozenset(
    {
        ("", "NEW"),
        ("NEW", "OPEN"),
        ("NEW", "GONE"),
        ("NEW", "HELD"),
        ("NEW", "FAILED"),
        ("OPEN", "DONE"),
        ("OPEN", "GONE"),
        ("OPEN", "FAILED"),
        ("OPEN", "HELD"),
        ("HELD", "OPEN"),
        ("HELD", "GONE"),
        ("HELD", "FAILED"),
    }
)
# What the program logs, and the column that keeps it.
TOLD = {
    "closed_size": "liquidated_size",
    "price": "liquidation_price",
    "reward": "liquidator_reward",
    "is_full": "is_full_liquidation",
    "fund_delta": "fund_delta",
    "bad_debt_uncovered": "bad_debt_uncovered",
}


class OrphanSignature:
    """I1: every signature that reached a node was committed before."""

    code: ClassVar[str] = "ORPHAN_SIG"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield what was seen without a row, or before it."""
        committed = {
            move.key: move.at_s
            for books in evidence.books
            for move in books.journal.moves
            if move.table == "attempt" and not move.before
        }
        for signature, seen_s in sorted(evidence.seen.items()):
            if signature not in evidence.recorded:
                yield Found(text="seen, but on no record", at_s=seen_s, attempt=signature)
            elif seen_s < committed.get(signature, float("inf")):
                yield Found(text="seen before its commit", at_s=seen_s, attempt=signature)


class DoubleLive:
    """I2: at most one live attempt per intent, and the index that forbids a second."""

    code: ClassVar[str] = "DOUBLE_LIVE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield intents with two live attempts at any time."""
        for books in evidence.books:
            if ONE_LIVE_INDEX not in books.indexes:
                yield Found(text=f"{books.path} lacks the index {ONE_LIVE_INDEX}")
            live: dict[int, set[str]] = defaultdict(set)
            for move in books.journal.moves:
                if move.table != "attempt":
                    continue
                held = live[move.intent_id]
                held.discard(move.key)
                if move.after in LIVE:
                    held.add(move.key)
                if len(held) > 1 and not move.before:
                    yield Found(
                        text="another attempt was live",
                        at_s=move.at_s,
                        intent=str(move.intent_id),
                        attempt=move.key,
                    )


class Double:
    """I3: at most one effect per intent is finalized."""

    code: ClassVar[str] = "DOUBLE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield every effect of an intent after the first."""
        for books in evidence.books:
            first: dict[object, str] = {}
            for row in books.attempts:
                truth = evidence.final.get(row["sig"])
                if truth is None or truth.failed:
                    continue
                step = (row["program"], row["position"], row["generation"], row["step"])
                if step in first:
                    yield Found(
                        text=f"position {row['position']} was liquidated by {first[step]} too",
                        at_s=truth.final_at_s,
                        intent=str(row["intent_id"]),
                        attempt=row["sig"],
                    )
                first.setdefault(step, row["sig"])


class LostRecord:
    """I4: after settling each finalized transaction has a terminal row that tells the truth."""

    code: ClassVar[str] = "LOST_RECORD"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield what landed long enough ago and is not rightly recorded."""
        liquidations = {
            row["signature"]: row for books in evidence.books for row in books.liquidations
        }
        for signature, truth in sorted(evidence.final.items()):
            row = evidence.recorded.get(signature)
            if row is None or truth.final_at_s > evidence.end_s - evidence.terminal_within_s:
                continue
            wrong = _wrong_attempt(row, truth) or _wrong_liquidation(
                liquidations.get(signature), truth
            )
            if wrong:
                yield Found(
                    text=wrong,
                    at_s=truth.final_at_s,
                    intent=str(row["intent_id"]),
                    attempt=signature,
                )


def _wrong_attempt(row: Row, truth: Truth) -> str | None:
    expected = "FINALIZED_ERR" if truth.failed else "FINALIZED_OK"
    if row["state"] != expected:
        return f"landed as {expected} in slot {truth.slot}, recorded as {row['state']}"
    if row["final_slot"] != truth.slot:
        return f"landed in slot {truth.slot}, recorded in {row['final_slot']}"
    if row["fee_paid"] != truth.fee_lamports:
        return f"its fee was {truth.fee_lamports} lamports, recorded as {row['fee_paid']}"
    if row["cost_lamports"] != truth.cost_lamports:
        return f"cost {truth.cost_lamports} lamports, recorded as {row['cost_lamports']}"
    return None


def _wrong_liquidation(row: Row | None, truth: Truth) -> str | None:
    if truth.failed or truth.told is None:
        return None
    if row is None:
        return "landed, but no liquidation is recorded"
    for name, column in TOLD.items():
        if name in truth.told and int(row[column]) != truth.told[name]:
            return f"{name} was {truth.told[name]}, recorded as {row[column]}"
    debt = truth.told["bad_debt_covered"] + truth.told["bad_debt_uncovered"]
    if int(row["bad_debt"]) != debt:
        return f"bad debt was {debt}, recorded as {row['bad_debt']}"
    return None


class Phantom:
    """I4, I6: nothing on record claims a finalization, or an expiry, that the chain denies."""

    code: ClassVar[str] = "PHANTOM"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield rows that the cluster does not bear out."""
        for books in evidence.books:
            for row in books.attempts:
                wrong = _denied(row, evidence.final.get(row["sig"]))
                if wrong:
                    yield Found(text=wrong, intent=str(row["intent_id"]), attempt=row["sig"])
            for row in books.liquidations:
                truth = evidence.final.get(row["signature"])
                if truth is None or truth.failed:
                    yield Found(text="a liquidation that never was", attempt=row["signature"])
            yield from _early(books, evidence)


def _denied(row: Row, truth: Truth | None) -> str | None:
    state = row["state"]
    if state in FINAL and truth is None:
        return f"recorded as {state}, but the chain lacks it"
    if state in FINAL and truth is not None and truth.failed != FINAL[state]:
        return f"recorded as {state}, but the chain says {'failed' if truth.failed else 'done'}"
    if state in NEVER_LANDED and truth is not None:
        return f"recorded as {state}, but it landed in slot {truth.slot}"
    if state in NEVER_LANDED and not row["proof_json"]:
        return f"recorded as {state} without a proof"
    return None


def _early(books: Books, evidence: Evidence) -> Iterator[Found]:
    """Yield attempts that were ended as expired while a block could still carry them."""
    for move in books.journal.moves:
        last = evidence.last_heights.get(move.key)
        if move.table != "attempt" or move.after not in NEVER_LANDED or last is None:
            continue
        rooted = [height for at_s, height in evidence.roots if at_s <= move.at_s]
        if rooted and max(rooted) < last:
            yield Found(
                text=f"expired at height {max(rooted)}, but could land up to {last}",
                at_s=move.at_s,
                intent=str(move.intent_id),
                attempt=move.key,
            )


class LostCommit:
    """I21: the database is whole, and what was committed is in it."""

    code: ClassVar[str] = "LOST_COMMIT"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield commits that the file lacks."""
        for books in evidence.books:
            if books.integrity != "ok":
                yield Found(text=f"{books.path}: {books.integrity}")
            found: Mapping[tuple[str, str], str] = {
                **{("attempt", row["sig"]): row["state"] for row in books.attempts},
                **{("intent", row["key"]): row["state"] for row in books.intents},
            }
            last: dict[tuple[str, str], tuple[str, float]] = {}
            for move in books.journal.moves:
                if move.table != "lease":
                    last[move.table, move.key] = (move.after, move.at_s)
            for place, (state, at_s) in last.items():
                if found.get(place) != state:
                    yield Found(
                        text=f"{place[0]} {place[1]} is {found.get(place)}, {state} was committed",
                        at_s=at_s,
                    )


class Edge:
    """I6, I21: states move along the edges that exist."""

    code: ClassVar[str] = "EDGE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield moves along others, and intents that ended with a live attempt."""
        for books in evidence.books:
            live: dict[int, set[str]] = defaultdict(set)
            for move in books.journal.moves:
                pair = (move.before, move.after)
                if move.table == "attempt":
                    live[move.intent_id].discard(move.key)
                    if move.after in LIVE:
                        live[move.intent_id].add(move.key)
                allowed = {"attempt": ATTEMPT_EDGES, "intent": INTENT_EDGES}.get(move.table)
                if allowed is not None and pair not in allowed:
                    yield Found(
                        text=f"{move.table} went from {move.before} to {move.after}",
                        at_s=move.at_s,
                        intent=str(move.intent_id),
                        attempt=move.key,
                    )
                ended = move.after in {"HELD", "DONE", "GONE", "FAILED"}
                if move.table == "intent" and ended and live[move.intent_id]:
                    yield Found(
                        text=f"became {move.after} with a live attempt",
                        at_s=move.at_s,
                        intent=move.key,
                    )


RECORD: tuple[Checker, ...] = (
    OrphanSignature(),
    DoubleLive(),
    Double(),
    LostRecord(),
    Phantom(),
    LostCommit(),
    Edge(),
)
