"""The transaction of a decision before it is signed: built, priced and simulated."""

from collections.abc import Mapping
from dataclasses import dataclass

from liqctl.chain.answers import Blockhash, Simulation
from liqctl.chain.fees import max_cost_lamports
from liqctl.chain.transaction import compile_message, placeholder_signed
from liqctl.core.account import Seen
from liqctl.core.position import Position
from liqctl.keeper.blockhash import RecentBlockhash
from liqctl.keeper.context import Context

USED_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What an attempt offers for its place in a block."""

    compute_unit_limit: int = 200_000
    price_micro_lamports: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message, the blockhash it carries and the most that its fees can cost.

    `liquidate_index` counts the venue's set-up instructions before its own; they make the
    accounts `creates` where those are missing.
    """

    position: str
    message: bytes
    liquidate_index: int
    blockhash: Blockhash
    fee_lamports: int
    creates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A draft and what the node says it would do."""

    draft: Draft
    simulation: Simulation


class Drafter:
    """Builds and simulates messages for one liquidator."""

    def __init__(
        self,
        context: Context,
        blockhash: RecentBlockhash,
        liquidator: str,
        fees: Fees,
    ) -> None:
        """Pay and be rewarded as `liquidator`."""
        self._context = context
        self._blockhash = blockhash
        self._used: dict[str, str] = {}
        self.liquidator = liquidator
        self.fees = fees

    async def draft(
        self, position: Position, view: Mapping[str, Seen], max_size: int | None
    ) -> Draft:
        """Return the message that liquidates the position as the view shows it.

        Raises:
            RpcError: no recent blockhash is to be had.
        """
        plan = self._context.venue.plan(position, view, self.liquidator, max_size=max_size)
        blockhash = await self._blockhash.get(other_than=self._used.get(position.address))
        fees = self.fees
        message = compile_message(
            self.liquidator,
            plan.instructions,
            blockhash.hash,
            fees.compute_unit_limit,
            fees.price_micro_lamports,
        )
        return Draft(
            position=position.address,
            message=message,
            liquidate_index=plan.liquidate_index,
            blockhash=blockhash,
            fee_lamports=max_cost_lamports(1, fees.compute_unit_limit, fees.price_micro_lamports),
            creates=plan.creates,
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

        Raises:
            RpcError: the node does not say.
        """
        simulation = await self._context.chain.simulate(
            placeholder_signed(draft.message), min_context_slot=min_context_slot
        )
        return Trial(draft=draft, simulation=simulation)
