"""One complete pass over a venue: what is liquidatable, what is not known and why."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from liqctl.core.engine import Engine
from liqctl.core.events import Coverage
from liqctl.core.health import ESTIMATE_ONLY, Assessment
from liqctl.core.position import Position
from liqctl.core.record import QueueOrder, QueueRow, QueueState
from liqctl.errors import RpcError
from liqctl.keeper.context import Context, first_error
from liqctl.keeper.reading import FreshRead, read_fresh
from liqctl.keeper.service import Keeper
from liqctl.keeper.supposing import falls

CONFIRMATIONS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A liquidatable position and the verdict on it, read together in one slot."""

    position: Position
    assessment: Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The result of a pass: at which slot, over how much, with what findings, worst first.

    `estimates` are positions below their margin of which no exact verdict is ever known.
    """

    slot: int
    coverage: Coverage
    findings: tuple[Finding, ...]
    estimates: tuple[Finding, ...] = ()


async def survey(
    keeper: Keeper,
    context: Context,
    *,
    market: str | None = None,
    min_notional: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Survey:
    """Read everything once and return what is liquidatable, each confirmed by a fresh read.

    `market` is a symbol; `min_notional` is in 1e-6 quote. `progress` hears of confirmations done
    and to do.

    Raises:
        RpcError: the node did not answer.
    """
    await keeper.feeds.load()
    keeper.absorb()
    await keeper.ask_beside()
    waiting = [entry.position for entry in keeper.engine.queue.entries()]
    candidates = [p for a in waiting if (p := keeper.engine.position(a)) is not None]
    candidates = [
        p
        for p in candidates
        if market is None or context.venue.symbol(p, keeper.engine.view) == market
    ]
    done = 0
    limit = asyncio.Semaphore(CONFIRMATIONS_AT_ONCE)

    async def confirm(position: Position) -> FreshRead:
        nonlocal done
        async with limit:
            read = await read_fresh(context.venue, context.chain, position, keeper.engine.view)
        done += 1
        progress(done, len(candidates))
        return read

    try:
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(confirm(position)) for position in candidates]
    except* RpcError as errors:
        raise first_error(errors) from errors
    findings = [
        Finding(
            position=read.position,
            assessment=keeper.engine.doubted(read.assessment, read.view, read.now_s),
        )
        for read in (task.result() for task in reading)
        if read.position is not None
        and read.assessment is not None
        and read.assessment.liquidatable is True
        and read.assessment.notional >= min_notional
    ]
    return Survey(
        slot=keeper.engine.slot,
        coverage=keeper.engine.coverage(),
        findings=worst_first(findings),
        estimates=estimates(keeper.engine, market=market, min_notional=min_notional),
    )


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order in which they should be carried out."""
    return tuple(
        sorted(findings, key=lambda f: (f.assessment.health, -f.position.size, f.position.address))
    )


def estimates(
    engine: Engine, *, market: str | None = None, min_notional: int = 0
) -> tuple[Finding, ...]:
    """Return the positions that only an estimate puts below their margin, worst first."""
    if not engine.coverage().unknown.get(ESTIMATE_ONLY):
        return ()
    held = [seen.value for seen in engine.view.values() if isinstance(seen.value, Position)]
    found = (Finding(position=one, assessment=engine.assess(one)) for one in held)
    return worst_first(
        one
        for one in found
        if one.assessment.liquidatable is None
        and falls(one.assessment)
        and market in {None, one.assessment.symbol}
        and one.assessment.notional >= min_notional
    )


def queue_row(finding: Finding, venue: str, now_ms: int) -> QueueRow:
    """Return the row that hands a finding over to a running keeper."""
    position, verdict = finding.position, finding.assessment
    return QueueRow(
        position=position.address,
        owner=position.owner,
        venue=venue,
        symbol=verdict.symbol,
        side=position.side.value,
        size=position.size,
        health=verdict.health,
        state=QueueState.WAITING,
        reason="found by scan",
        tries=0,
        next_try_ms=0,
        since_ms=now_ms,
        order=QueueOrder.ENQUEUE,
    )
