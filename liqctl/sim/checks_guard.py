"""Checkers of the guards: spending, the kill switch, leases, what goes over the wire."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from liqctl.core.guards import SIGNATURE_FEE_LAMPORTS, TOKEN_ACCOUNT_RENT_LAMPORTS
from liqctl.sim.checkers import Checker, Found
from liqctl.sim.evidence import Books, Evidence, Row
from liqctl.sim.journal import NEVER_LANDED, Move

HOUR_MS = 3_600_000
TICK_S = 2.0
FIRST = {
    "encoding": "base64",
    "skipPreflight": False,
    "preflightCommitment": "confirmed",
    "maxRetries": 0,
}
AGAIN = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
MICRO = 1_000_000


class Cap:
    """I7: no transaction, hour or day costs more than its cap, counted when it is signed."""

    code: ClassVar[str] = "CAP"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts that broke a cap, and fees beyond what was said."""
        for books in evidence.books:
            yield from _overspent(books)
            for row in books.attempts:
                wrong = _miscounted(row, evidence)
                if wrong:
                    yield Found(text=wrong, attempt=row["sig"], intent=str(row["intent_id"]))


def _overspent(books: Books) -> Iterator[Found]:
    rows = {row["sig"]: row for row in books.attempts}
    spent: dict[str, int] = {}
    for move in books.journal.moves:
        row = rows.get(move.key)
        if move.table != "attempt" or row is None:
            continue
        spent[move.key] = _counted(row, move.after)
        if not move.before:
            yield from _broken(books, rows, spent, move)


def _counted(row: Row, state: str) -> int:
    """Return what an attempt in a state counts; the cost that was found at last, not more."""
    if state in NEVER_LANDED:
        return 0
    cost = row["cost_lamports"] if state.startswith("FINALIZED") else None
    return int(row["max_cost_lamports"] if cost is None else cost)


def _broken(
    books: Books, rows: Mapping[str, Row], spent: Mapping[str, int], move: Move
) -> Iterator[Found]:
    limits = books.limits
    for name, cap, since_ms in (
        ("transaction", limits.transaction_lamports, None),
        ("hour", limits.hour_lamports, move.signed_ms - HOUR_MS),
        ("day", limits.day_lamports, move.signed_ms - 24 * HOUR_MS),
    ):
        counted = (
            spent[move.key]
            if since_ms is None
            else sum(cost for key, cost in spent.items() if rows[key]["signed_ms"] >= since_ms)
        )
        if counted > cap:
            yield Found(
                text=f"{counted} lamports, the cap of a {name} is {cap}",
                at_s=move.at_s,
                attempt=move.key,
                intent=str(move.intent_id),
            )


def _miscounted(row: Row, evidence: Evidence) -> str | None:
    """Return what is wrong with the cost of an attempt, which may have to open an owner's account."""
    fees = SIGNATURE_FEE_LAMPORTS - (-row["cu_limit"] * row["cu_price"] // MICRO)
    least = fees + TOKEN_ACCOUNT_RENT_LAMPORTS
    if row["max_cost_lamports"] < least:
        return f"at most {row['max_cost_lamports']} lamports were counted for {least}"
    truth = evidence.final.get(row["sig"])
    if truth is not None and truth.cost_lamports > row["max_cost_lamports"]:
        return f"cost {truth.cost_lamports} lamports, {row['max_cost_lamports']} were counted"
    return None


class Kill:
    """I9: once the switch is set nothing is signed after a tick; a dry run never sends."""

    code: ClassVar[str] = "KILL"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts signed under a set switch."""
        for switched in evidence.switches:
            for books in evidence.books:
                if books.path != switched.path:
                    continue
                for move in _signings(books):
                    woken = [t for t in evidence.resumed.get(move.keeper, ()) if t <= move.at_s]
                    known_s = max([switched.on_at_s, *woken]) + TICK_S
                    if known_s < move.at_s < switched.off_at_s:
                        yield Found(
                            text=f"signed {move.at_s - switched.on_at_s:.3f} s after the switch",
                            at_s=move.at_s,
                            attempt=move.key,
                            intent=str(move.intent_id),
                        )
        for sent in evidence.sends:
            if sent.keeper in evidence.dry:
                yield Found(text="a dry run sent", at_s=sent.at_s, attempt=sent.signature)


class Fence:
    """I24: only the holder of a running lease records an attempt."""

    code: ClassVar[str] = "FENCE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts of others, or under a lease that had ended."""
        for books in evidence.books:
            for move in _signings(books):
                wrong = ""
                if move.owner != move.life:
                    wrong = f"recorded by {move.life}, the lease was of {move.owner or 'nobody'}"
                elif move.lease_until_ms <= move.signed_ms:
                    wrong = f"the lease ended {move.signed_ms - move.lease_until_ms} ms before"
                if wrong:
                    yield Found(
                        text=wrong,
                        at_s=move.at_s,
                        attempt=move.key,
                        intent=str(move.intent_id),
                    )


def _signings(books: Books) -> Iterator[Move]:
    for move in books.journal.moves:
        if move.table == "attempt" and not move.before:
            yield move


class Wire:
    """I5, I10: what is sent has the right parameters, was recorded as it is and tried before."""

    code: ClassVar[str] = "WIRE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield calls with missing or forbidden parameters, and sends without a trial."""
        for sent in evidence.sends:
            wrong = _wrong_options(sent.options)
            if wrong:
                yield Found(text=wrong, at_s=sent.at_s, attempt=sent.signature)
        for tried in evidence.tried:
            replaced = tried.options.get("replaceRecentBlockhash") is True
            if tried.options.get("sigVerify") or not replaced:
                yield Found(text="simulated with the wrong parameters", at_s=tried.at_s)
        yield from _untried(evidence)


def _wrong_options(options: Mapping[str, object]) -> str | None:
    again = options.get("skipPreflight") is True
    for name, value in (AGAIN if again else FIRST).items():
        if name not in options:
            return f"sendTransaction without {name}"
        if options[name] != value or type(options[name]) is not type(value):
            return f"sendTransaction with {name} {options[name]!r}"
    if again and "minContextSlot" in options:
        return "a rebroadcast with minContextSlot, which a lagging node refuses"
    if not again and "minContextSlot" not in options:
        return "the first send without minContextSlot"
    return None


def _untried(evidence: Evidence) -> Iterator[Found]:
    """Yield attempts whose message no node had simulated with success since the decision's slot."""
    if not evidence.tried:
        return
    passed: dict[bytes, int] = {}
    for tried in evidence.tried:
        if not tried.failed:
            passed[tried.message] = max(passed.get(tried.message, 0), tried.slot)
    for books in evidence.books:
        for row in books.attempts:
            slot = passed.get(bytes(row["raw"])[65:])
            if slot is None:
                yield Found(text="signed without a successful simulation", attempt=row["sig"])


class Rate:
    """I19: the calls of one keeper stay under the limit."""

    code: ClassVar[str] = "RATE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield keepers that asked too often."""
        for keeper, calls_per_s in sorted(evidence.calls_per_s.items()):
            if calls_per_s > evidence.calls_per_s_max:
                yield Found(
                    text=f"{keeper} made {calls_per_s:.1f} calls a second,"
                    f" at most {evidence.calls_per_s_max:.0f} are allowed"
                )


GUARD: tuple[Checker, ...] = (Cap(), Kill(), Fence(), Wire(), Rate())
