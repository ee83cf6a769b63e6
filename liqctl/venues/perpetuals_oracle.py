"""Where a custody's price comes from, and the program's error when there is none to be had."""

from dataclasses import dataclass

from liqctl.core.account import Account, Decoded, Gone, Refusal, Undecodable
from liqctl.core.price import PriceReading, PriceRefusal, PriceSource
from liqctl.venues.perpetuals_layout import (
    NOT_DESERIALIZED,
    ORACLE_CUSTOM,
    ORACLE_NONE,
    WRONG_DISCRIMINATOR,
    CustodyRecord,
    OracleRules,
    Unreadable,
    read_oracle,
)
from liqctl.venues.perpetuals_math import Price, Refused
from liqctl.venues.perpetuals_verdict import Prices, accepted_price

UNSUPPORTED_ORACLE, INVALID_ORACLE = 6004, 6005
WRONG_OWNER = 3007

# A price that was read, or what the program fails with as soon as it reads it.
Source = PriceReading | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleAccount:
    """An oracle account as it lies on the chain, and its legacy Pyth price if it is one."""

    account: Account
    legacy: PriceReading | None


def source_of(rules: OracleRules, oracle: OracleAccount | None, program_id: str) -> Source:
    """Return what the program makes of the bytes of an oracle account."""
    if rules.kind == ORACLE_NONE:
        return _unsupported()
    if oracle is None or not oracle.account.data or oracle.account.lamports == 0:
        return Refused(INVALID_ORACLE, PriceRefusal.MISSING)
    if rules.kind != ORACLE_CUSTOM:
        return oracle.legacy or _no_pyth_price()
    account = oracle.account
    if account.owner != program_id:
        return Refused(WRONG_OWNER, PriceRefusal.WRONG_OWNER)
    try:
        return read_oracle(account.address, account.owner, account.data)
    except Unreadable as error:
        return Refused(error.code, PriceRefusal.WRONG_TYPE)


def source_in_view(rules: OracleRules, value: Decoded | None, program_id: str) -> Source:
    """Return what the program makes of an oracle account that was decoded already."""
    if rules.kind == ORACLE_NONE:
        return _unsupported()
    if isinstance(value, Gone | None):
        return Refused(INVALID_ORACLE, PriceRefusal.MISSING)
    if rules.kind == ORACLE_CUSTOM:
        return _custom_in_view(value, program_id)
    legacy = isinstance(value, PriceReading) and value.source is PriceSource.LEGACY
    return value if isinstance(value, PriceReading) and legacy else _no_pyth_price()


def _custom_in_view(value: Decoded, program_id: str) -> Source:
    if isinstance(value, PriceReading):
        custom = value.source is PriceSource.CUSTOM and value.owner == program_id
        return value if custom else Refused(WRONG_OWNER, PriceRefusal.WRONG_OWNER)
    if isinstance(value, Undecodable):
        if value.reason is Refusal.WRONG_OWNER:
            return Refused(WRONG_OWNER, PriceRefusal.WRONG_OWNER)
        if value.reason is Refusal.WRONG_LENGTH:
            return Refused(NOT_DESERIALIZED, PriceRefusal.WRONG_TYPE)
    return Refused(WRONG_DISCRIMINATOR, PriceRefusal.WRONG_TYPE)


def prices_of(
    custody: CustodyRecord,
    collateral: CustodyRecord,
    source: Source,
    collateral_source: Source,
    now_s: int,
) -> Prices:
    """Return the four prices of a verdict, read and checked in the program's order.

    Raises:
        Refused: the first price that the program does not accept.
    """
    return Prices(
        _read(source, custody.oracle, now_s, ema=False),
        _read(source, custody.oracle, now_s, ema=custody.use_ema),
        _read(collateral_source, collateral.oracle, now_s, ema=False),
        _read(collateral_source, collateral.oracle, now_s, ema=collateral.use_ema),
    )


def reported_prices_of(
    custody: CustodyRecord,
    collateral: CustodyRecord,
    source: Source,
    collateral_source: Source,
    now_s: int,
) -> Prices:
    """Return the prices of the program's reported liquidation price, which never reads the spot.

    Raises:
        Refused: the first price that the program does not accept.
    """
    ema = _read(source, custody.oracle, now_s, ema=custody.use_ema)
    return Prices(
        ema,
        ema,
        _read(collateral_source, collateral.oracle, now_s, ema=False),
        _read(collateral_source, collateral.oracle, now_s, ema=collateral.use_ema),
    )


def _read(source: Source, rules: OracleRules, now_s: int, *, ema: bool) -> Price:
    if isinstance(source, Refused):
        raise source
    return accepted_price(source, rules, now_s, ema=ema)


def _unsupported() -> Refused:
    return Refused(UNSUPPORTED_ORACLE, "oracle_unsupported")


def _no_pyth_price() -> Refused:
    return Refused(INVALID_ORACLE, PriceRefusal.WRONG_TYPE)
