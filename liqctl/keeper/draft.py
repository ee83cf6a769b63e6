"""The transaction of a decision before it is signed: built, priced and simulated."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from liqctl.chain.answers import Blockhash, Simulation
from liqctl.chain.fees import max_cost_lamports, priority_fee_lamports
from liqctl.chain.transaction import compile_message, placeholder_signed
from liqctl.core.account import Account, Seen
from liqctl.core.bid import PRICE_MIN, Bid, bid, highest_price, unit_limit
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS
from liqctl.core.instruction import Plan, budget_exceeded
from liqctl.core.position import Position
from liqctl.keeper.blockhash import RecentBlockhash
from liqctl.keeper.context import Context
from liqctl.keeper.priority import PriorityPrices

# A plan that needs more than this says how much; for every other the setting counts.
USUAL_UNITS = 200_000
USED_MAX = 10_000
SHAPES_MAX = 1_000

log = structlog.get_logger(__name__)

Shape = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What an attempt offers for its place in a block, and the most that may be offered.

    The priority fee is never above `cap_lamports`, however many units a plan needs. Dynamic prices
    start at a percentile of what recent blocks took and rise with each further attempt; without
    one the fixed price counts.
    """

    compute_unit_limit: int = USUAL_UNITS
    price_micro_lamports: int = 1_000_000
    cap_lamports: int = 200_000
    dynamic: bool = False
    percentile: int = 75
    above_reward: bool = False
    compute_unit_margin_percent: int = 20

    def units_max(self, plan: Plan) -> int:
        """Return the highest compute-unit limit that a plan may have, and the one it begins with."""
        needs_more = plan.compute_units > USUAL_UNITS
        return plan.compute_units if needs_more else self.compute_unit_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is known of a decision when its fee is set.

    `attempt` counts the attempts of the intent, from 1. `worth_lamports` is the highest priority
    fee that the reward is worth (`core.bid.worth_lamports`); None: the price of SOL is not known,
    and nothing above the fixed price is offered.
    """

    attempt: int = 1
    worth_lamports: int | None = None


UNKNOWN_OFFER = Offer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message, the blockhash it carries and the most that its fees can cost.

    The venue's set-up instructions, `plan.liquidate_index` of them, make the accounts
    `plan.creates` where those are missing.
    """

    position: str
    plan: Plan
    message: bytes
    blockhash: Blockhash
    compute_unit_limit: int
    price_micro_lamports: int
    ceiling_lamports: int

    @property
    def liquidate_index(self) -> int:
        """How many set-up instructions stand before the venue's own."""
        return self.plan.liquidate_index

    @property
    def creates(self) -> tuple[str, ...]:
        """The token accounts that are made where they are missing."""
        return self.plan.creates

    @property
    def fee_lamports(self) -> int:
        """The most that signature and priority fee can cost."""
        return max_cost_lamports(1, self.compute_unit_limit, self.price_micro_lamports)

    def cost_lamports(self, found: Mapping[str, Account | None]) -> int:
        """Return the most that it can cost, with the rent of every account that it may make.

        One of somebody else's counts although it was found: its owner can close it before the
        transaction lands. Those in `plan.keeps` count when they are missing: only the liquidator
        can close them.
        """
        keeps = self.plan.keeps
        made = sum(one not in keeps or found.get(one) is None for one in self.creates)
        return self.fee_lamports + made * TOKEN_ACCOUNT_RENT_LAMPORTS

    def lost_lamports(self, found: Mapping[str, Account | None]) -> int:
        """Return what it costs for good as things stand, for the reward to be compared with.

        That is without the rent of the liquidator's own accounts, and with that of others where
        they are missing now: few owners close theirs in between, and hardly any reward is worth
        a rent that is not due. What the liquidation pays back in lamports counts against it; less
        than 0 is a gain.
        """
        others = [address for address in self.creates if address not in self.plan.keeps]
        missing = sum(found.get(address) is None for address in others)
        rent = missing * TOKEN_ACCOUNT_RENT_LAMPORTS
        return self.fee_lamports + rent - self.plan.returns_lamports


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A draft and what the node says it would do; only this very draft may be signed."""

    draft: Draft
    simulation: Simulation


class Drafter:
    """Builds, prices and simulates messages for one liquidator."""

    def __init__(
        self,
        context: Context,
        blockhash: RecentBlockhash,
        liquidator: str,
        fees: Fees,
    ) -> None:
        """Pay and be rewarded as `liquidator`; `prices.run` must go on for dynamic prices."""
        self._context = context
        self._blockhash = blockhash
        self._used: dict[str, str] = {}
        self._units: dict[Shape, int] = {}
        self.liquidator = liquidator
        self.fees = fees
        self.prices = PriorityPrices(context, fees.percentile)
        self.counts: Counter[str] = Counter()

    async def draft(
        self,
        position: Position,
        view: Mapping[str, Seen],
        max_size: int | None,
        offer: Offer = UNKNOWN_OFFER,
    ) -> Draft:
        """Return the message that liquidates the position as the view shows it.

        Raises:
            RpcError: no recent blockhash is to be had.
        """
        plan = self._context.venue.plan(position, view, self.liquidator, max_size=max_size)
        blockhash = await self._blockhash.get(other_than=self._used.get(position.address))
        limit = self._unit_limit(plan)
        ceiling = self._ceiling_lamports(plan, limit, offer)
        offered = self._bid(position, plan, limit, ceiling, offer.attempt)
        return self._compiled(
            Draft(
                position=position.address,
                plan=plan,
                message=b"",
                blockhash=blockhash,
                compute_unit_limit=limit,
                price_micro_lamports=offered.price_micro_lamports,
                ceiling_lamports=ceiling,
            )
        )

    def signed(self, draft: Draft) -> None:
        """Note that a draft became an attempt: its bytes must never be drafted again.

        The same message with the same blockhash would have the same signature, and the chain
        would take it for a repetition.
        """
        self._used[draft.position] = draft.blockhash.hash
        while len(self._used) > USED_MAX:
            del self._used[next(iter(self._used))]

    async def simulate(self, draft: Draft, min_context_slot: int | None) -> Trial:
        """Return what the node says the draft would do, at that slot or later.

        A draft that runs out of compute units is drafted and tried once more at the ceiling: the
        draft in the trial is then another one than was given.

        Raises:
            RpcError: the node does not say.
        """
        trial = await self._tried(draft, min_context_slot)
        failure = trial.simulation.failure
        if failure is None or not budget_exceeded(failure):
            return trial
        self.forget_units()
        if draft.compute_unit_limit == self.fees.units_max(draft.plan):
            return trial
        self.counts["unit_limit_too_low"] += 1
        return await self._tried(self._with_room(draft), min_context_slot)

    def forget_units(self) -> None:
        """Ask for the whole limit again; for when an attempt ran out of compute units."""
        self._units.clear()

    async def _tried(self, draft: Draft, min_context_slot: int | None) -> Trial:
        simulation = await self._context.chain.simulate(
            placeholder_signed(draft.message), min_context_slot=min_context_slot
        )
        if simulation.failure is None and simulation.compute_units is not None:
            shape = _shape(draft.plan)
            units = max(simulation.compute_units, self._units.pop(shape, 0))
            self._units[shape] = units
            while len(self._units) > SHAPES_MAX:
                del self._units[next(iter(self._units))]
        return Trial(draft=draft, simulation=simulation)

    def _unit_limit(self, plan: Plan) -> int:
        fees = self.fees
        consumed = self._units.get(_shape(plan))
        return unit_limit(consumed, fees.compute_unit_margin_percent, fees.units_max(plan))

    def _ceiling_lamports(self, plan: Plan, limit: int, offer: Offer) -> int:
        """Return the most that the priority fee may be, whatever the price says.

        What the liquidation pays in lamports is worth a fee as its reward is.
        """
        fees = self.fees
        if fees.above_reward:
            return fees.cap_lamports
        fixed = priority_fee_lamports(limit, fees.price_micro_lamports)
        rewarded = offer.worth_lamports
        worth = fixed if rewarded is None else rewarded + plan.returns_lamports
        return min(fees.cap_lamports, worth)

    def _bid(self, position: Position, plan: Plan, limit: int, ceiling: int, attempt: int) -> Bid:
        fees = self.fees
        if not fees.dynamic:
            return bid(fees.price_micro_lamports, 1, ceiling, limit)
        known = self.prices.price(position.market, plan.writable())
        base = fees.price_micro_lamports if known is None else max(known, PRICE_MIN)
        offered = bid(base, attempt, ceiling, limit)
        if offered.capped:
            self.counts["fee_capped"] += 1
            log.warning(
                "priority_fee_capped",
                position=position.address,
                attempt=attempt,
                ceiling_lamports=ceiling,
                price_micro_lamports=offered.price_micro_lamports,
            )
        return offered

    def _with_room(self, draft: Draft) -> Draft:
        """Return the draft with the whole limit, at a price that keeps its fee below the ceiling."""
        limit = self.fees.units_max(draft.plan)
        price = min(draft.price_micro_lamports, highest_price(draft.ceiling_lamports, limit))
        return self._compiled(replace(draft, compute_unit_limit=limit, price_micro_lamports=price))

    def _compiled(self, draft: Draft) -> Draft:
        message = compile_message(
            self.liquidator,
            draft.plan.instructions,
            draft.blockhash.hash,
            draft.compute_unit_limit,
            draft.price_micro_lamports,
        )
        return replace(draft, message=message)


def _shape(plan: Plan) -> Shape:
    """Return what plans have in common that need about as many compute units."""
    return tuple((each.program, len(each.accounts), len(each.data)) for each in plan.instructions)
