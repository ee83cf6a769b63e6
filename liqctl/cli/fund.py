"""The insurance fund as the chain shows it, and what it has to answer for."""

from collections.abc import Mapping
from dataclasses import dataclass

from liqctl.chain.base58 import encode
from liqctl.cli.arithmetic import SIZE_DIGITS
from liqctl.cli.connect import Connection
from liqctl.core.account import Account, Gone, Seen
from liqctl.core.fixed import BPS, mul_div_ceil, mul_div_floor
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market
from liqctl.errors import LayoutError, LiqctlError, RpcMalformed
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.venues.reference_layout import MarketRecord
from liqctl.venues.tokens import TOKEN_PROGRAM

TVL_SHARE_BPS_MIN = 500
TOKEN_ACCOUNT_SIZE = 165
MINT_END, AMOUNT = 32, slice(64, 72)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketInterest:
    """What is open in one market: sizes in the venue's unit, the mark price or why there is none."""

    symbol: str
    long_size: int
    short_size: int
    price_e6: int | None
    refusal: str | None

    @property
    def open_interest(self) -> int | None:
        """The larger side at the mark price in 1e-6 quote, rounded up; None without a price."""
        size = max(self.long_size, self.short_size)
        if size == 0:
            return 0
        return None if self.price_e6 is None else mul_div_ceil(size, self.price_e6, 10**SIZE_DIGITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FundReport:
    """The fund and what it stands for; money in 1e-6 quote, shares rounded down.

    `tvl` is everything in the program's vault: collateral, profit pools and the fund itself; None
    when the vault is no token account of the fund's mint. `unreadable` counts accounts that should
    be markets and are not understood.
    """

    fund: InsuranceState
    markets: tuple[MarketInterest, ...]
    unreadable: int
    tvl: int | None
    slot: int

    @property
    def open_interest(self) -> int | None:
        """The sum over the markets, each with its larger side; None when one is not known.

        A move of the price can only bankrupt one side of a market.
        """
        known = [one.open_interest for one in self.markets if one.open_interest is not None]
        complete = len(known) == len(self.markets) and not self.unreadable
        return sum(known) if complete else None

    @property
    def coverage_bps(self) -> int | None:
        """The fund as a share of the open interest; None when that is not known or nothing."""
        return _share_bps(self.fund.balance, self.open_interest)

    @property
    def tvl_share_bps(self) -> int | None:
        """The fund as a share of the value locked; None when that is not known or nothing."""
        return _share_bps(self.fund.balance, self.tvl)

    @property
    def is_low(self) -> bool | None:
        """Whether the fund is below 5 % of the value locked; None when that is not known."""
        share = self.tvl_share_bps
        return None if share is None else share < TVL_SHARE_BPS_MIN


async def read_fund(connection: Connection) -> FundReport:
    """Return the fund with vault, markets and prices; fund, vault and prices are of one slot.

    Raises:
        RpcError: the node did not answer.
        LiqctlError: the program has no fund, or none yet.
        LayoutError: what is in the fund's place is something else.
    """
    venue, chain = connection.venue, connection.chain
    address = venue.insurance_address()
    if address is None:
        raise LiqctlError(f"the {venue.id} program has no insurance fund")
    first = await chain.accounts([address])
    vault = _fund(connection, address, first.by_address[address], first.slot).vault
    snapshot = await chain.program_accounts(venue.program_id, venue.discriminators()["market"])
    found = [venue.decode(account) for account in snapshot.accounts]
    markets = [value for value in found if isinstance(value, Market)]
    prices = [market.price_account for market in markets]
    asked = [*dict.fromkeys([address, vault, CLOCK_SYSVAR, *prices])]
    answer = await chain.accounts(asked, min_context_slot=max(first.slot, snapshot.slot))
    clock = decode_clock(answer.by_address[CLOCK_SYSVAR])
    if clock is None:
        raise RpcMalformed("the node does not show the Clock of the cluster")
    view = {one: decode(venue, one, answer.by_address[one], answer.slot) for one in prices}
    fund = _fund(connection, address, answer.by_address[address], answer.slot)
    drawn = (_interest(connection, market, view, clock.unix_timestamp) for market in markets)
    known = sorted((one for one in drawn if one is not None), key=lambda one: one.symbol)
    return FundReport(
        fund=fund,
        markets=tuple(known),
        unreadable=len(found) - len(known) + len(snapshot.refused),
        tvl=_token_amount(answer.by_address[vault], fund.mint),
        slot=answer.slot,
    )


def _fund(
    connection: Connection, address: str, account: Account | None, slot: int
) -> InsuranceState:
    value = decode(connection.venue, address, account, slot).value
    if isinstance(value, InsuranceState):
        return value
    program = connection.venue.program_id
    if isinstance(value, Gone):
        raise LiqctlError(f"no insurance fund at {address}: the program {program} has none yet")
    detail = getattr(value, "detail", type(value).__name__.lower())
    raise LayoutError(f"{address} is not the insurance fund of the program {program}: {detail}")


def _interest(
    connection: Connection, market: Market, view: Mapping[str, Seen], now_s: int
) -> MarketInterest | None:
    """Return what is open in a market; None when its program does not say."""
    record = market.record
    if not isinstance(record, MarketRecord):
        return None
    price = connection.venue.mark_price(market, view, now_s)
    return MarketInterest(
        symbol=market.symbol,
        long_size=record.open_interest_long,
        short_size=record.open_interest_short,
        price_e6=None if isinstance(price, str) else price,
        refusal=price if isinstance(price, str) else None,
    )


def _token_amount(account: Account | None, mint: str) -> int | None:
    """Return what a token account of the mint holds, or None when it is none."""
    if account is None or account.owner != TOKEN_PROGRAM:
        return None
    if len(account.data) < TOKEN_ACCOUNT_SIZE or encode(account.data[:MINT_END]) != mint:
        return None
    return int.from_bytes(account.data[AMOUNT], "little")


def _share_bps(part: int, whole: int | None) -> int | None:
    return mul_div_floor(part, BPS, whole) if whole else None
