"""Accounts of the perpetuals program: bytes to records with every field that it computes with."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

from solders.pubkey import Pubkey

from liqctl.core.account import Refusal
from liqctl.core.price import PriceReading, PriceSource
from liqctl.errors import LayoutError
from liqctl.venues.idl import Idl

DISCRIMINATOR_SIZE = 8
LONG, SHORT = 1, 2
ORACLE_NONE, ORACLE_CUSTOM, ORACLE_PYTH = 0, 1, 2

PERPETUALS_IDL = Idl(
    json.loads(resources.files("liqctl.venues").joinpath("perpetuals.json").read_text())
)
POSITION = PERPETUALS_IDL.account_layout("Position")
CUSTODY = PERPETUALS_IDL.account_layout("Custody")
_ORACLE = PERPETUALS_IDL.account_layout("CustomOracle")

# Anchor reports these before the program itself runs.
NO_DISCRIMINATOR, WRONG_DISCRIMINATOR, NOT_DESERIALIZED = 3001, 3002, 3003


KINDS = ("Position", "Custody", "CustomOracle", "Pool", "Perpetuals")


def discriminator(kind: str) -> bytes:
    """Return the first bytes of an account kind."""
    return hashlib.sha256(f"account:{kind}".encode()).digest()[:DISCRIMINATOR_SIZE]


class Unreadable(LayoutError):
    """Bytes that the program would not deserialize, with the code that Anchor reports."""

    def __init__(self, code: int, message: str, reason: Refusal = Refusal.ABSURD_VALUE) -> None:
        """Take the code, what is wrong, and its kind."""
        super().__init__(message)
        self.code = code
        self.reason = reason


def cut_off(code: int, message: str) -> Unreadable:
    """Return the error of bytes that end before the account does."""
    return Unreadable(code, message, Refusal.WRONG_LENGTH)


class PositionRecord(NamedTuple):
    """A position as it stands in the account; keys are bytes, money in 1e-6 USD.

    A tuple, because a scan makes a hundred thousand of them.
    """

    owner: bytes
    pool: bytes
    custody: bytes
    collateral_custody: bytes
    open_time: int
    update_time: int
    side: int
    price: int
    size_usd: int
    borrow_size_usd: int
    collateral_usd: int
    unrealized_profit_usd: int
    unrealized_loss_usd: int
    cumulative_interest_snapshot: int
    locked_amount: int
    collateral_amount: int
    bump: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleRules:
    """Which account a custody takes its price from, and what the program demands of it."""

    account: str
    kind: int
    error_bps_max: int
    age_s_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Sums over all positions of one side, which a liquidation takes the position out of."""

    open_positions: int
    size_usd: int
    borrow_size_usd: int
    locked_amount: int
    weighted_price: int
    total_quantity: int
    cumulative_interest_usd: int
    cumulative_interest_snapshot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """What positions pay for borrowing: parameters and state, rates in 1e-9 an hour."""

    base_rate: int
    slope1: int
    slope2: int
    optimal_utilization: int
    current_rate: int
    cumulative_interest: int
    last_update: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What a custody holds, in base units of its token."""

    collateral: int
    protocol_fees: int
    owned: int
    locked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyRecord:
    """One token of a pool: prices, fees and assets; ratios in bps, USD in 1e-6."""

    pool: str
    mint: str
    token_account: str
    decimals: int
    is_stable: bool
    is_virtual: bool
    oracle: OracleRules
    use_ema: bool
    spread_long_bps: int
    spread_short_bps: int
    leverage_max_bps: int
    allow_close: bool
    close_fee_bps: int
    liquidation_fee_bps: int
    protocol_share_bps: int
    assets: Assets
    lending: Lending
    liquidated_usd: int
    longs: Stats
    shorts: Stats
    bump: int
    token_account_bump: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """A pool: its custodies and the value of all its assets in 1e-6 USD as last written."""

    name: str
    custodies: tuple[str, ...]
    aum_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRecord:
    """The account of the program itself: which doors are open."""

    allow_close: bool


def read_position(blob: bytes) -> PositionRecord:
    """Return the record of a Position account; bytes behind it are padding.

    Raises:
        Unreadable: with the code of the error that the program would report.
    """
    _demand_kind(blob, "Position", POSITION.size)
    values = list(POSITION.packer.unpack_from(blob, DISCRIMINATOR_SIZE))
    if values[6] > SHORT:
        raise Unreadable(NOT_DESERIALIZED, f"side {values[6]}")
    values[13] = int.from_bytes(values[13], "little")
    return PositionRecord._make(values)


def read_custody(blob: bytes) -> CustodyRecord:
    """Return the record of a Custody account; bytes behind it are padding.

    Raises:
        Unreadable: with the code of the error that the program would report.
    """
    _demand_kind(blob, "Custody", CUSTODY.size)
    try:
        read = CUSTODY.read(blob, DISCRIMINATOR_SIZE)
    except LayoutError as error:
        raise Unreadable(NOT_DESERIALIZED, f"Custody: {error}") from error
    if read["oracle.oracle_type"] > ORACLE_PYTH or read["fees.mode"] > 2:
        raise Unreadable(NOT_DESERIALIZED, "Custody: an oracle type or a fee mode that is none")
    return CustodyRecord(
        pool=key(read["pool"]),
        mint=key(read["mint"]),
        token_account=key(read["token_account"]),
        decimals=read["decimals"],
        is_stable=bool(read["is_stable"]),
        is_virtual=bool(read["is_virtual"]),
        oracle=OracleRules(
            account=key(read["oracle.oracle_account"]),
            kind=read["oracle.oracle_type"],
            error_bps_max=read["oracle.max_price_error"],
            age_s_max=read["oracle.max_price_age_sec"],
        ),
        use_ema=bool(read["pricing.use_ema"]),
        spread_long_bps=read["pricing.trade_spread_long"],
        spread_short_bps=read["pricing.trade_spread_short"],
        leverage_max_bps=read["pricing.max_leverage"],
        allow_close=bool(read["permissions.allow_close_position"]),
        close_fee_bps=read["fees.close_position"],
        liquidation_fee_bps=read["fees.liquidation"],
        protocol_share_bps=read["fees.protocol_share"],
        assets=Assets(**_members(read, "assets", Assets)),
        lending=Lending(
            **_members(read, "borrow_rate", Lending), **_members(read, "borrow_rate_state", Lending)
        ),
        liquidated_usd=read["volume_stats.liquidation_usd"],
        longs=Stats(**_members(read, "long_positions", Stats)),
        shorts=Stats(**_members(read, "short_positions", Stats)),
        bump=read["bump"],
        token_account_bump=read["token_account_bump"],
    )


def read_pool(blob: bytes) -> PoolRecord:
    """Return the record of a Pool account.

    Raises:
        Unreadable: with the code of the error that the program would report.
    """
    take = _taker(blob, "Pool")
    try:
        name = take(_length(take)).decode()
    except UnicodeDecodeError as error:
        raise Unreadable(NOT_DESERIALIZED, "Pool: a name that is no text") from error
    custodies = tuple(key(take(32)) for _ in range(_length(take)))
    take(24 * _length(take))
    aum_usd = int.from_bytes(take(16), "little")
    take(10)
    return PoolRecord(name=name, custodies=custodies, aum_usd=aum_usd)


def read_settings(blob: bytes) -> SettingsRecord:
    """Return the record of the Perpetuals account.

    Raises:
        Unreadable: with the code of the error that the program would report.
    """
    take = _taker(blob, "Perpetuals")
    doors = take(8)
    if max(doors) > 1:
        raise Unreadable(NOT_DESERIALIZED, "Perpetuals: a permission that is neither 0 nor 1")
    take(32 * _length(take))
    take(10)
    return SettingsRecord(allow_close=doors[4] == 1)


def read_oracle(address: str, owner: str, blob: bytes) -> PriceReading:
    """Return the price of a CustomOracle account: price and average share the confidence.

    It names no feed and no slot.

    Raises:
        Unreadable: with the code of the error that the program would report.
    """
    _demand_kind(blob, "CustomOracle", _ORACLE.size)
    price, exponent, confidence, ema, published = _ORACLE.packer.unpack_from(
        blob, DISCRIMINATOR_SIZE
    )
    return PriceReading(
        address=address,
        owner=owner,
        feed_id="",
        mantissa=price,
        exponent=exponent,
        confidence=confidence,
        publish_time=published,
        fully_verified=True,
        posted_slot=0,
        source=PriceSource.CUSTOM,
        ema_mantissa=ema,
        ema_confidence=confidence,
    )


def key(blob: bytes) -> str:
    """Return a public key as text."""
    return str(Pubkey(blob))


@lru_cache(maxsize=4_096)
def shared_key(blob: bytes) -> str:
    """Return a public key as text; for keys that many accounts name."""
    return key(blob)


def _members(
    read: Mapping[str, Any], name: str, kind: type[Assets | Lending | Stats]
) -> dict[str, Any]:
    """Return the members of a nested struct that the record keeps, by name."""
    paths = {one.name: f"{name}.{one.name}" for one in fields(kind)}
    return {member: read[path] for member, path in paths.items() if path in read}


def _demand_kind(blob: bytes, kind: str, size: int) -> None:
    if len(blob) < DISCRIMINATOR_SIZE:
        raise cut_off(NO_DISCRIMINATOR, f"{kind}: {len(blob)} bytes")
    if blob[:DISCRIMINATOR_SIZE] != _HEADS[kind]:
        raise Unreadable(WRONG_DISCRIMINATOR, f"no {kind}", Refusal.WRONG_DISCRIMINATOR)
    if len(blob) < DISCRIMINATOR_SIZE + size:
        expected = DISCRIMINATOR_SIZE + size
        raise cut_off(NOT_DESERIALIZED, f"{kind} of {len(blob)} bytes, expected {expected}")


def _taker(blob: bytes, kind: str) -> Callable[[int], bytes]:
    """Return a function that takes bytes off the front, from behind the discriminator."""
    _demand_kind(blob, kind, 0)
    at = DISCRIMINATOR_SIZE

    def take(count: int) -> bytes:
        nonlocal at
        if at + count > len(blob):
            raise cut_off(NOT_DESERIALIZED, f"{kind} of {len(blob)} bytes ends early")
        at += count
        return blob[at - count : at]

    return take


def _length(take: Callable[[int], bytes]) -> int:
    return int.from_bytes(take(4), "little")


_HEADS = {kind: discriminator(kind) for kind in KINDS}
