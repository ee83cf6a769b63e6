"""The reference venue: the program of liqctl/localnet/program, its verdict and its instructions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solders.pubkey import Pubkey

from liqctl.core.account import Account, Decoded, Seen
from liqctl.core.fixed import U64_MAX
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position
from liqctl.core.trigger import crossing_price_e6
from liqctl.errors import LayoutError
from liqctl.venues import reference_verdict as verdict
from liqctl.venues.logs import logged_by
from liqctl.venues.outcomes import RUNTIME_OUTCOMES, TOKEN_OUTCOMES
from liqctl.venues.reference_layout import DISCRIMINATOR_SIZE, REFERENCE_IDL, AccountReader
from liqctl.venues.tokens import associated_token_account, create_token_account

COMPUTE_UNITS = 200_000

_OUTCOMES = {
    "PositionHealthy": Outcome.HEALTHY,
    "PositionGone": Outcome.GONE,
    "MarketPaused": Outcome.PAUSED,
    "PriceWrongOwner": Outcome.ORACLE,
    "PriceWrongType": Outcome.ORACLE,
    "PriceNotFullyVerified": Outcome.ORACLE,
    "PriceWrongFeed": Outcome.ORACLE,
    "PriceNotPositive": Outcome.ORACLE,
    "PriceBadExponent": Outcome.ORACLE,
    "PriceStale": Outcome.ORACLE,
    "PriceTooWide": Outcome.ORACLE,
    "PriceTooSmall": Outcome.ORACLE,
    "ProfitPoolEmpty": Outcome.NO_FUNDS,
    # The market was given another price account, or the price moved: a fresh plan will do.
    "PriceAccountMismatch": Outcome.RETRY,
    "MaxSizeTooSmall": Outcome.RETRY,
    "InvalidTokenAccount": Outcome.SETUP,
    "LiquidatorTokenMismatch": Outcome.SETUP,
    "OwnerTokenMismatch": Outcome.SETUP,
    "LeverageTooHigh": Outcome.LAYOUT,
    "AccountNotInitialized": Outcome.LAYOUT,
    "AccountWrongOwner": Outcome.LAYOUT,
    "AccountWrongType": Outcome.LAYOUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramAssessment:
    """What the program itself answers to `assess`; zeros where nothing would be liquidated."""

    liquidatable: bool
    is_full: bool
    equity: int
    maintenance_margin: int
    allowed_size: int
    reward: int
    bad_debt: int
    fund_delta: int


class ReferenceVenue:
    """The reference program at one address; implements the Venue port."""

    id: str = "reference"

    def __init__(self, program_id: str) -> None:
        """Derive the two addresses that every instruction names.

        Raises:
            ValueError: the program id is no public key.
        """
        self.program_id = program_id
        self._program = Pubkey.from_string(program_id)
        self._reader = AccountReader(program_id)
        self._fund = self._derived(b"insurance_fund")
        self._vault = self._derived(b"vault")
        self._event = REFERENCE_IDL.event_discriminator("LiquidationEvent")

    def _derived(self, *seeds: bytes) -> str:
        return str(Pubkey.find_program_address(seeds, self._program)[0])

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of positions, markets and the fund, by kind name."""
        names = {"position": "Position", "market": "Market", "insurance_fund": "InsuranceFund"}
        return {kind: REFERENCE_IDL.account_discriminator(name) for kind, name in names.items()}

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error."""
        return self._reader.decode(account)

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return market and fund, and the price account once the market is known."""
        market = verdict.market_of(position, view)
        prices = () if market is None else (market.price_account,)
        return (position.market, *prices, self._fund)

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        market = verdict.market_of(position, view)
        return position.market if market is None else market.symbol

    def insurance_address(self) -> str:
        """Return the address of the insurance fund."""
        return self._fund

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price in 1e-6 that verdicts of the market use, or the word why there is none."""
        return verdict.mark_price(market, view, now_s)

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the program's verdict at the cluster time `now_s`; total, never an error.

        A paused market, an empty pool or a price from the future do not change the verdict, they
        are blockers. Without the fund the verdict stands and the payments are left at zero.
        """
        return verdict.assess(position, view, self._fund, now_s)

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures of the verdict in the order of its arithmetic, for a person."""
        return verdict.steps(position, view, self._fund, now_s)

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return the liquidation price itself, which is exact here; 0 for a long without one.

        None while the market is not known.
        """
        ratio = verdict.maintenance_bps(position, view)
        return None if ratio is None else crossing_price_e6(verdict.holding_of(position), ratio)

    def liquidation_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return the last price in 1e-6 quote at which the position is liquidatable.

        That is the largest one for a long and the smallest one for a short. None when there is
        no such price, or the market is not known.
        """
        ratio = verdict.maintenance_bps(position, view)
        return None if ratio is None else verdict.liquidation_price(position, ratio)

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the instructions that liquidate the position for this liquidator.

        Both token accounts are created first where they are missing, at the liquidator's cost.

        Raises:
            LayoutError: the view lacks the market or the fund, or `max_size` is out of range.
        """
        market, fund = verdict.market_of(position, view), verdict.value_at(view, self._fund)
        if market is None or not isinstance(fund, InsuranceState):
            raise LayoutError("the market or the insurance fund is not known yet")
        owner_token = associated_token_account(position.owner, fund.mint)
        liquidator_token = associated_token_account(liquidator, fund.mint)
        liquidate = REFERENCE_IDL.instruction(
            "liquidate",
            self.program_id,
            {
                "liquidator": liquidator,
                "liquidator_token": liquidator_token,
                "market": position.market,
                "position": position.address,
                "owner_token": owner_token,
                "price_account": market.price_account,
                "insurance_fund": self._fund,
                "vault": self._vault,
            },
            {"max_size": U64_MAX if max_size is None else max_size},
        )
        setup = [create_token_account(liquidator, position.owner, fund.mint)]
        if position.owner != liquidator:
            setup.append(create_token_account(liquidator, liquidator, fund.mint))
        creates = dict.fromkeys((owner_token, liquidator_token))
        return Plan(
            instructions=(*setup, liquidate),
            liquidate_index=len(setup),
            compute_units=COMPUTE_UNITS,
            creates=tuple(creates),
            keeps=(liquidator_token,),
        )

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's `assess`, or None while the market is not known."""
        market = verdict.market_of(position, view)
        if market is None:
            return None
        return REFERENCE_IDL.instruction(
            "assess",
            self.program_id,
            {
                "market": position.market,
                "position": position.address,
                "price_account": market.price_account,
                "insurance_fund": self._fund,
            },
            {"max_size": U64_MAX},
        )

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means; an unknown one is a bug."""
        if failure.code is None:
            return RUNTIME_OUTCOMES.get(failure.name, Outcome.BUG)
        name = REFERENCE_IDL.errors.get(failure.code)
        if name is None:
            return TOKEN_OUTCOMES.get(failure.code, Outcome.BUG)
        return _OUTCOMES.get(name, Outcome.BUG)

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return the numbers of the LiquidationEvent, or None when the logs have none.

        `is_full` is 0 or 1. Only what this program logged itself counts, and nothing counts if
        the program failed afterwards.
        """
        if any(line.startswith(f"Program {self.program_id} failed") for line in logs):
            return None
        for blob in logged_by(self.program_id, logs):
            layout = REFERENCE_IDL.type_layout("LiquidationEvent")
            head, body = blob[:DISCRIMINATOR_SIZE], blob[DISCRIMINATOR_SIZE:]
            if head == self._event and len(body) == layout.size:
                try:
                    read = layout.read(body)
                except LayoutError:
                    continue
                return {name: value for name, value in read.items() if isinstance(value, int)}
        return None

    def decode_assessment(self, returned: bytes) -> ProgramAssessment:
        """Return the program's answer to `assess`; a node may have cut trailing zeros.

        Raises:
            LayoutError: more bytes than the answer has, or a flag that is neither 0 nor 1.
        """
        layout = REFERENCE_IDL.type_layout("Assessment")
        if len(returned) > layout.size:
            raise LayoutError(f"an assessment of {len(returned)} bytes, expected {layout.size}")
        read = layout.read(returned.ljust(layout.size, b"\0"))
        return ProgramAssessment(
            liquidatable=read["liquidatable"] == 1,
            is_full=read["is_full"] == 1,
            equity=read["equity"],
            maintenance_margin=read["maintenance_margin"],
            allowed_size=read["allowed_size"],
            reward=read["reward"],
            bad_debt=read["bad_debt"],
            fund_delta=read["fund_delta"],
        )
