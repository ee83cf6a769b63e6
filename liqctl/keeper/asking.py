"""What the program itself says of a position: by simulation, without a key, nothing is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liqctl.chain.answers import Simulation
from liqctl.chain.client import Chain
from liqctl.chain.transaction import compile_message, placeholder_signed
from liqctl.core.account import Account, Seen
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.position import Position
from liqctl.errors import LayoutError
from liqctl.keeper.context import failure_text, outcome_of
from liqctl.ports import Venue
from liqctl.venues.confirming import confirmed

VIEW_UNITS = 400_000
# The node puts a recent one in its place.
ANY_BLOCKHASH = "1" * 32
BY_VIEW, BY_LIQUIDATION = "view", "liquidation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The program's own verdict.

    `by` is "view" for its read-only instruction and "liquidation" for the real one, simulated.
    `liquidatable` is None when it failed for another reason, which `outcome` classifies and
    `error` names. `effects` are what a simulated liquidation told.
    """

    by: str
    slot: int
    liquidatable: bool | None
    outcome: str = "ok"
    error: str | None = None
    compute_units: int | None = None
    effects: Mapping[str, int] | None = None

    @property
    def says_something(self) -> bool:
        """Whether there is a verdict, or an error that says why there is none."""
        return self.liquidatable is not None or self.error is not None


async def ask_program(
    venue: Venue,
    chain: Chain,
    position: Position,
    view: Mapping[str, Seen],
    payer: str,
    *,
    min_context_slot: int = 0,
) -> Answer | None:
    """Return the program's answer, from its own view where it has one; None without a plan.

    `payer` is any address with lamports; the liquidation is simulated as its own.

    Raises:
        RpcError: the node did not answer.
    """
    answer = await ask_view(venue, chain, position, view, payer, min_context_slot=min_context_slot)
    if answer is not None and answer.says_something:
        return answer
    tried = await ask_liquidation(
        venue, chain, position, view, payer, min_context_slot=min_context_slot
    )
    return tried or answer


async def ask_liquidation(
    venue: Venue,
    chain: Chain,
    position: Position,
    view: Mapping[str, Seen],
    payer: str,
    *,
    min_context_slot: int = 0,
) -> Answer | None:
    """Return what comes of the liquidation itself, simulated as the payer's; None without a plan.

    Raises:
        RpcError: the node did not answer.
    """
    try:
        plan = venue.plan(position, view, payer)
    except LayoutError:
        return None
    done = await simulated(chain, payer, plan, min_context_slot)
    if done.failure is None:
        return Answer(
            by=BY_LIQUIDATION,
            slot=done.slot,
            liquidatable=True,
            compute_units=done.compute_units,
            effects=venue.effects(done.logs),
        )
    return _failed(venue, plan, done, done.failure, BY_LIQUIDATION)


async def ask_view(
    venue: Venue,
    chain: Chain,
    position: Position,
    view: Mapping[str, Seen],
    payer: str,
    *,
    min_context_slot: int = 0,
) -> Answer | None:
    """Return what the program's own view of the verdict answers, or None where it has none.

    An answer without a verdict and without an error is one that only its program understands.

    Raises:
        RpcError: the node did not answer.
    """
    call = venue.confirmation(position, view)
    if call is None:
        return None
    return (await _asked_view(venue, chain, call, payer, min_context_slot))[0]


async def ask_view_and_see(
    venue: Venue,
    chain: Chain,
    position: Position,
    view: Mapping[str, Seen],
    payer: str,
    *,
    min_context_slot: int = 0,
) -> tuple[Answer, Mapping[str, Account | None]] | None:
    """Return what `ask_view` does, and the accounts of the view as the program saw them.

    A view changes nothing, so what it leaves is what it read. There are none when it failed.

    Raises:
        RpcError: the node did not answer.
    """
    call = venue.confirmation(position, view)
    if call is None:
        return None
    named = {meta.address for meta in call.accounts}
    seen = [address for address in view if address in named]
    return await _asked_view(venue, chain, call, payer, min_context_slot, seen)


async def _asked_view(
    venue: Venue,
    chain: Chain,
    call: Instruction,
    payer: str,
    min_context_slot: int,
    seen: Sequence[str] = (),
) -> tuple[Answer, Mapping[str, Account | None]]:
    plan = Plan(instructions=(call,), liquidate_index=0, compute_units=VIEW_UNITS)
    done = await simulated(chain, payer, plan, min_context_slot, accounts=seen)
    if done.failure is not None:
        return _failed(venue, plan, done, done.failure, BY_VIEW), {}
    told = done.return_data
    # A node may leave out an answer of zeros; one of another program is none.
    returned = told.data if told is not None and told.program == venue.program_id else b""
    try:
        verdict, error = confirmed(venue, returned), None
    except LayoutError as broken:
        verdict, error = None, str(broken)
    answer = Answer(
        by=BY_VIEW,
        slot=done.slot,
        liquidatable=verdict,
        outcome="ok" if error is None else Outcome.LAYOUT.value,
        error=error,
        compute_units=done.compute_units,
    )
    return answer, done.accounts


async def simulated(
    chain: Chain,
    payer: str,
    plan: Plan,
    min_context_slot: int = 0,
    *,
    accounts: Sequence[str] = (),
) -> Simulation:
    """Return what a plan would do, paid by an address that need not sign.

    The simulation has these of its accounts as they are afterwards.

    Raises:
        RpcError: the node did not answer.
    """
    message = compile_message(payer, plan.instructions, ANY_BLOCKHASH, plan.compute_units, 0)
    return await chain.simulate(
        placeholder_signed(message),
        accounts=accounts,
        min_context_slot=min_context_slot or None,
    )


def _failed(venue: Venue, plan: Plan, done: Simulation, failure: Failure, by: str) -> Answer:
    outcome = outcome_of(venue, failure, plan.liquidate_index)
    return Answer(
        by=by,
        slot=done.slot,
        liquidatable=False if outcome is Outcome.HEALTHY else None,
        outcome=outcome.value,
        error=failure_text(failure),
        compute_units=done.compute_units,
    )
