"""What it costs to have an attempt on record before it is sent, beside a commit that is not durable."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liqctl.core.intent import Attempt, Claim
    from liqctl.ports import Store

COMMITS = 300
LEASE_MS = 60_000
TRANSACTION_BYTES = 700


def recording_us(place: Path) -> tuple[list[int], list[int]]:
    """Return what each of 300 recorded attempts took in microseconds, sorted: durable, and not.

    Both write to files in the same new folder below `place`, in turn.
    """
    from liqctl.core.guards import SpendCaps  # noqa: PLC0415 - with the core only
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    clock = SystemClock()
    caps = SpendCaps(hour_lamports=2**62, day_lamports=2**62)
    durable: list[int] = []
    loose: list[int] = []
    with (
        TemporaryDirectory(dir=place, prefix=".liqctl-bench-") as folder,
        _opened(Path(folder) / "durable.db", durable=True) as ours,
        _opened(Path(folder) / "loose.db", durable=False) as rival,
    ):
        for number in range(COMMITS):
            for store, times in ((ours, durable), (rival, loose)):
                claim = bench_claim(store, number)
                attempt = bench_attempt(claim, number)
                started_ns = clock.monotonic_ns()
                store.record_attempt(claim, attempt, 1, decision_slot=1, caps=caps)
                times.append((clock.monotonic_ns() - started_ns) // 1_000)
    return sorted(durable), sorted(loose)


@contextmanager
def _opened(file: Path, *, durable: bool) -> "Iterator[Store]":
    import sqlite3  # noqa: PLC0415 - for this bench only

    from liqctl.store import sqlite  # noqa: PLC0415 - 180 ms, not for --help
    from liqctl.store.connection import connect  # noqa: PLC0415 - 180 ms
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms

    store: Store = open_store(f"sqlite:{file}")
    if not durable:
        store.close()
        connection: sqlite3.Connection = connect(
            str(file), create=False, read_only=False, busy_timeout_ms=1_000
        )
        connection.execute("PRAGMA synchronous = OFF")
        store = sqlite.SqliteStore(connection, str(file))
    try:
        yield store
    finally:
        store.close()


def bench_claim(store: "Store", number: int) -> "Claim":
    """Return the claim, which the executor takes beside its reads: it is not part of the figure."""
    from liqctl.core.intent import IntentRequest  # noqa: PLC0415 - with the core only
    from liqctl.errors import present  # noqa: PLC0415 - with the core only

    request = IntentRequest(
        venue="reference",
        program="program",
        position=f"position {number}",
        generation=1,
        decision_slot=1,
        snapshot_json="{}",
    )
    return present(store.claim(request, "bench", 0, LEASE_MS), "a new intent is leased")


def bench_attempt(claim: "Claim", number: int) -> "Attempt":
    """Return an attempt as large as a real one."""
    from liqctl.core.intent import Attempt  # noqa: PLC0415 - with the core only

    return Attempt(
        signature=f"signature {number}",
        intent_id=claim.intent_id,
        n=1,
        position=f"position {number}",
        symbol="SOL",
        raw=bytes(TRANSACTION_BYTES),
        blockhash="blockhash",
        last_valid_block_height=1,
        min_context_slot=1,
        compute_unit_limit=1,
        compute_unit_price_micro_lamports=1,
        max_cost_lamports=1,
    )
