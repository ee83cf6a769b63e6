"""The program as a witness: it judges a sample of our verdicts by simulation, off the hot path."""

from collections import Counter
from typing import NamedTuple

import structlog

from liqctl.core.engine import Engine
from liqctl.core.position import Position
from liqctl.core.status import Disagreement
from liqctl.errors import LiqctlError
from liqctl.keeper.asking import Answer, ask_liquidation, ask_view_and_see
from liqctl.keeper.context import Context
from liqctl.keeper.decode import decode
from liqctl.keeper.reading import FreshRead, read_fresh
from liqctl.keeper.supposing import falls

log = structlog.get_logger(__name__)

LOOK_S = 1.0
# Each check is two reads and a simulation at most.
CHECKS_A_LOOK_MAX = 5
NEAR_MAX = 20
CLOCK_S = (0, 1, 2)
WAITING_MAX = 100


class _Compared(NamedTuple):
    """The program's answer, and our verdict on the state that it rests on; None without one."""

    answer: Answer
    ours: bool | None


class Shadow:
    """Draws positions near their line and decisions, and asks the program about them.

    Ours and theirs are compared only when they rest on the same state: on the accounts that the
    simulation itself read, or, where only the liquidation can be tried, on accounts that were the
    same before and after it. Everything else counts as incomparable. A disagreement is logged as
    an error and stays to be seen in `last`.
    """

    def __init__(self, context: Context, engine: Engine, payer: str | None, rate: float) -> None:
        """Draw a share `rate` of what could be drawn; simulate as `payer`, else as the owner."""
        self._context = context
        self._engine = engine
        self._payer = payer
        self._rate = rate
        self._waiting: dict[str, None] = {}
        self.counts: Counter[str] = Counter()
        self.last: Disagreement | None = None

    @property
    def draws(self) -> bool:
        """Whether anything is ever drawn."""
        return self._rate > 0

    def offer(self, position: str) -> None:
        """Take a position into the sample, by chance; the oldest that still waits gives way."""
        if not self.draws or self._context.rng.random() >= self._rate:
            return
        self._waiting[position] = None
        if len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]
            self.counts["dropped"] += 1

    async def run(self) -> None:
        """Look again and again; ends only by cancellation."""
        while True:
            await self._context.clock.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Draw from the positions nearest to their line, and check some of what was drawn."""
        for verdict in self._engine.closest(NEAR_MAX):
            self.offer(verdict.position)
        for _ in range(min(CHECKS_A_LOOK_MAX, len(self._waiting))):
            position = next(iter(self._waiting))
            del self._waiting[position]
            try:
                await self._check(position)
            except LiqctlError as error:  # a witness that cannot be asked stops nobody
                self.counts["unanswered"] += 1
                log.debug("shadow_unanswered", position=position, error=str(error))

    async def _check(self, address: str) -> None:
        """Compare one verdict with the program's own."""
        position = self._engine.position(address)
        if position is None:
            return
        context = self._context
        read = await read_fresh(context.venue, context.chain, position, self._engine.view)
        held = read.position
        compared = None
        if held is not None:
            compared = await self._by_view(read, held) or await self._by_liquidation(read, held)
        if compared is None or compared.ours is None or compared.answer.liquidatable is None:
            self.counts["incomparable"] += 1
            return
        self.counts["checked"] += 1
        if compared.answer.liquidatable is not compared.ours:
            self._disagree(address, read, compared.answer, compared.ours)

    async def _by_view(self, read: FreshRead, position: Position) -> _Compared | None:
        """Ask the program's view, and judge the very accounts that it saw; None without a view."""
        context = self._context
        asked = await ask_view_and_see(
            context.venue,
            context.chain,
            position,
            read.view,
            self._payer or position.owner,
            min_context_slot=read.slot,
        )
        if asked is None or not asked[0].says_something:
            return None
        answer, accounts = asked
        seen = {
            address: decode(context.venue, address, account, answer.slot)
            for address, account in accounts.items()
        }
        view = {**read.view, **seen}
        held = view[position.address].value
        if not seen or not isinstance(held, Position):
            return _Compared(answer, None)
        # Between the two the clock went on, and with it the age of a price and interest.
        verdicts = [
            falls(context.venue.assess(held, view, read.now_s + later)) for later in CLOCK_S
        ]
        return _Compared(answer, verdicts[0] if len(set(verdicts)) == 1 else None)

    async def _by_liquidation(self, read: FreshRead, position: Position) -> _Compared | None:
        """Simulate the liquidation; the state must be the same before and after."""
        context = self._context
        answer = await ask_liquidation(
            context.venue,
            context.chain,
            position,
            read.view,
            self._payer or position.owner,
            min_context_slot=read.slot,
        )
        if answer is None or read.assessment is None:
            return None
        after = await read_fresh(
            context.venue, context.chain, position, read.view, min_context_slot=answer.slot
        )
        ours = falls(read.assessment)
        same = after.assessment is not None and falls(after.assessment) is ours
        return _Compared(answer, ours if same and _values(after) == _values(read) else None)

    def _disagree(self, address: str, read: FreshRead, answer: Answer, ours: bool) -> None:
        theirs = not ours
        exact = read.assessment is not None and read.assessment.exact
        self.counts["disagreements"] += 1
        self.last = Disagreement(
            position=address,
            ours=ours,
            theirs=theirs,
            exact=exact,
            by=answer.by,
            slot=answer.slot,
            at_ms=self._context.clock.unix_ms(),
        )
        log.error(
            "shadow_disagreement",
            position=address,
            ours=ours,
            theirs=theirs,
            exact=exact,
            by=answer.by,
            slot=answer.slot,
            outcome=answer.outcome,
        )


def _values(read: FreshRead) -> dict[str, object]:
    return {address: seen.value for address, seen in read.view.items()}
