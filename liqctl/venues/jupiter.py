"""The venue of the Jupiter perpetuals program: scanned and watched, never liquidated.

Only the program's own keepers may call its liquidation, and its arithmetic is not public.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from solders.pubkey import Pubkey

from liqctl.core.account import Account, Decoded, Gone, Refusal, Seen, Undecodable
from liqctl.core.fixed import BPS, I64_MAX, Overflow
from liqctl.core.health import ESTIMATE_ONLY, Assessment, health
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading, PriceRefusal, PriceRules, PriceSource, price_e6, refusal
from liqctl.errors import InvariantError, LayoutError
from liqctl.venues.idl import Idl
from liqctl.venues.jupiter_estimate import CustodyRecord, Estimate, PositionRecord, estimate
from liqctl.venues.outcomes import RUNTIME_OUTCOMES
from liqctl.venues.reference_verdict import (
    Figures,
    market_of,
    unreadable_market,
    unreadable_price,
    value_at,
)
from liqctl.venues.tokens import SYSTEM_PROGRAM

JUPITER_IDL = Idl(json.loads(resources.files("liqctl.venues").joinpath("jupiter.json").read_text()))
WHY_NOT = "keeper-only: the program takes liquidations from its own keepers alone"
# Space that the program keeps behind the fields of its accounts; it must be zero.
SPARE_MAX = 4_096
_HEAD = 8
_KINDS = {JUPITER_IDL.account_discriminator(name): name for name in ("Position", "Custody")}
_SIDES = {1: Side.LONG, 2: Side.SHORT}
_SYMBOLS = {
    "So11111111111111111111111111111111111111112": "SOL",
    "7vfCXTUXx5WJV5JADk17DUJ4ksgau7utNKj4b963voxs": "ETH",
    "3NZ9JMVBmGAqocybic2c7LQCJScmgsAZ6vQqTDzcqmJh": "BTC",
    "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v": "USDC",
    "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB": "USDT",
}


class JupiterVenue:
    """The Jupiter perpetuals program at one address; implements the Venue port.

    A custody is the market of the positions in it; positions are sized in 1e-6 USD.
    """

    id: str = "jupiter"

    def __init__(self, program_id: str) -> None:
        """Read accounts that this program owns.

        Raises:
            ValueError: the program id is no public key.
        """
        self.program_id = str(Pubkey.from_string(program_id))

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of positions and custodies."""
        kinds = {"position": "Position", "market": "Custody"}
        return {kind: JUPITER_IDL.account_discriminator(name) for kind, name in kinds.items()}

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error.

        Closed positions stay on the chain without any size; they count as gone.
        """
        blob = account.data
        if not blob and account.owner == SYSTEM_PROGRAM:
            return Gone()
        if account.owner != self.program_id:
            return _undecodable(Refusal.WRONG_OWNER, f"owned by {account.owner}")
        name = _KINDS.get(blob[:_HEAD])
        if name is None:
            return _undecodable(Refusal.WRONG_DISCRIMINATOR, f"starts with {blob[:_HEAD].hex()!r}")
        return _decoded(account.address, name, blob)

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return both custodies, and the price account once the market is known."""
        market = market_of(position, view)
        prices = () if market is None else (market.price_account,)
        custodies = (position.market, record_of(position).collateral_custody)
        return (*dict.fromkeys(custodies), *prices)

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        market = market_of(position, view)
        return position.market if market is None else market.symbol

    def insurance_address(self) -> str | None:
        """Return None: losses beyond the collateral are the pool's."""
        return None

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price in 1e-6 that estimates of the market use, or why there is none."""
        reading = value_at(view, market.price_account)
        if not isinstance(reading, PriceReading):
            return unreadable_price(reading)
        if reading.source is not PriceSource.DOVES:
            return PriceRefusal.WRONG_OWNER
        rules = PriceRules(
            owner=reading.owner,
            feed_id=reading.feed_id,
            age_s_max=market.max_price_age_s,
            confidence_bps_max=BPS,
        )
        return refusal(reading, rules, now_s) or price_e6(reading.mantissa, reading.exponent)

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return an estimate at the cluster time: no verdict, but every figure; total.

        `liquidatable` is None for good, as "estimate_only"; equity, margin and health stand.
        """
        market = market_of(position, view)
        figures = Figures(position, market, view)
        figures.fields |= {"exact": False, "notional": position.size}
        figures.blockers.append("keeper_only")
        found = self._estimated(position, view, now_s)
        if isinstance(found, str):
            return figures.unknown(found)
        if market is not None and not custody_of(market).allow_liquidate:
            figures.blockers.append("market_paused")
        price, at = found
        figures.fields |= {
            "price_e6": price,
            "equity": at.equity,
            "maintenance_margin": at.maintenance_margin,
            "health": health(at.equity, at.maintenance_margin),
        }
        reading = None if market is None else value_at(view, market.price_account)
        if isinstance(reading, PriceReading):
            figures.published(reading, now_s)
        return figures.unknown(ESTIMATE_ONLY)

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures of the estimate in the order of its arithmetic, for a person."""
        found = self._estimated(position, view, now_s)
        if isinstance(found, str):
            return ()
        price, at = found
        return (
            ("mark_price_e6", price),
            ("notional_e6", position.size),
            ("close_fee_bps", at.close_fee_bps),
            ("price_impact_fee_bps", at.impact_bps),
            ("close_fee_e6", at.close_fee),
            ("hourly_borrow_rate_e9", at.hourly_rate),
            ("borrow_fee_e6", at.borrow_fee),
            ("unrealized_pnl_e6", at.profit),
            ("equity_e6", at.equity),
            ("maintenance_margin_e6", at.maintenance_margin),
            ("estimated_liquidation_price_e6", at.liquidation_price),
        )

    def _estimated(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[int, Estimate] | str:
        """Return price and estimate, or the word for what is missing."""
        record, market = record_of(position), market_of(position, view)
        if market is None:
            return unreadable_market(position, view)
        collateral = value_at(view, record.collateral_custody)
        if not isinstance(collateral, Market):
            missing = isinstance(collateral, Gone | None)
            return "collateral_missing" if missing else "collateral_unreadable"
        custody, lender = custody_of(market), custody_of(collateral)
        if not record.pool == custody.pool == lender.pool:
            return "other_pool"
        price = self.mark_price(market, view, now_s)
        if isinstance(price, str):
            return price
        try:
            return price, estimate(position.side, record, custody, lender, price, now_s)
        except Overflow:
            return "overflow"

    def bound_price_e6(
        self,
        position: Position,  # noqa: ARG002 - the port has it
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
    ) -> int | None:
        """Return None: borrowing fees move the line, and the line itself is an estimate."""
        return None

    def plan(
        self,
        position: Position,  # noqa: ARG002 - the port has it
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
        liquidator: str,  # noqa: ARG002 - the port has it
        *,
        max_size: int | None = None,  # noqa: ARG002 - the port has it
    ) -> Plan:
        """Refuse: nobody but the program's keepers could send it.

        Raises:
            LayoutError: always.
        """
        raise LayoutError(f"{self.id} can only be watched: {WHY_NOT}")

    def confirmation(
        self,
        position: Position,  # noqa: ARG002 - the port has it
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
    ) -> Instruction | None:
        """Return None: the program has no view of its verdict."""
        return None

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure means; one of the program is a bug, as nothing is sent to it."""
        return RUNTIME_OUTCOMES.get(failure.name, Outcome.BUG)

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:  # noqa: ARG002 - the port has it
        """Return None: no liquidation is ours."""
        return None


def _decoded(address: str, name: str, blob: bytes) -> Decoded:
    layout = JUPITER_IDL.account_layout(name)
    size = _HEAD + layout.size
    if not size <= len(blob) <= size + SPARE_MAX:
        return _undecodable(Refusal.WRONG_LENGTH, f"{name} of {len(blob)} bytes, expected {size}")
    if any(blob[size:]):
        return _undecodable(
            Refusal.ABSURD_VALUE, f"{name} has bytes behind its fields: a newer version"
        )
    build = _position if name == "Position" else _market
    try:
        return build(address, layout.read(blob, _HEAD))
    except LayoutError as error:
        return _undecodable(Refusal.ABSURD_VALUE, f"{name}: {error}")


def record_of(position: Position) -> PositionRecord:
    """Return the program's own record of a position that this venue decoded."""
    if not isinstance(position.record, PositionRecord):
        raise InvariantError(f"{position.address} was decoded by another venue")
    return position.record


def custody_of(market: Market) -> CustodyRecord:
    """Return the program's own record of a market that this venue decoded."""
    if not isinstance(market.record, CustodyRecord):
        raise InvariantError(f"{market.address} was decoded by another venue")
    return market.record


def _position(address: str, read: Mapping[str, Any]) -> Decoded:
    if read["size_usd"] == 0:
        return Gone()
    side = _SIDES.get(read["side"])
    if side is None:
        raise LayoutError(f"side {read['side']}")
    collateral = read["collateral_usd"]
    return Position(
        address=address,
        owner=_key(read["owner"]),
        market=_key(read["custody"]),
        side=side,
        size=min(read["size_usd"], I64_MAX),
        entry_price_e6=read["price"],
        collateral=collateral,
        leverage=read["size_usd"] // collateral if collateral else 0,
        generation=read["open_time"],
        record=PositionRecord(
            pool=_key(read["pool"]),
            collateral_custody=_key(read["collateral_custody"]),
            open_time=read["open_time"],
            price=read["price"],
            size_usd=read["size_usd"],
            collateral_usd=collateral,
            cumulative_interest_snapshot=read["cumulative_interest_snapshot"],
            locked_amount=read["locked_amount"],
        ),
    )


def _market(address: str, read: Mapping[str, Any]) -> Decoded:
    mint = _key(read["mint"])
    record = CustodyRecord(
        pool=_key(read["pool"]),
        mint=mint,
        decimals=read["decimals"],
        price_age_s_max=read["oracle.max_price_age_sec"],
        impact_scalar=read["pricing.trade_impact_fee_scalar"],
        leverage_max_bps=read["pricing.max_leverage"],
        allow_liquidate=bool(read["permissions.allow_liquidate_position"]),
        close_fee_bps=read["decrease_position_bps"],
        owned=read["assets.owned"],
        locked=read["assets.locked"],
        debt=read["debt"],
        debt_interest=read["borrow_lend_interests_accured"],
        cumulative_interest=read["funding_rate_state.cumulative_interest_rate"],
        interest_update=read["funding_rate_state.last_update"],
        linear_rate=read["funding_rate_state.hourly_funding_dbps"],
        rate_min_bps=read["jump_rate_state.min_rate_bps"],
        rate_max_bps=read["jump_rate_state.max_rate_bps"],
        rate_target_bps=read["jump_rate_state.target_rate_bps"],
        utilization_target=read["jump_rate_state.target_utilization_rate"],
    )
    return Market(
        address=address,
        symbol=_SYMBOLS.get(mint, mint),
        price_account=_key(read["doves_ag_oracle"]),
        paused=not record.allow_liquidate,
        max_price_age_s=record.price_age_s_max,
        record=record,
    )


def _key(blob: bytes) -> str:
    return str(Pubkey(blob))


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=detail)
