"""Accounts of the Adrena program: bytes to records with every field that is computed with.

Every account has one length. Another one is another version of the program, and is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from solders.pubkey import Pubkey

from liqctl.core.account import Refusal
from liqctl.errors import LayoutError
from liqctl.venues.idl import Idl

ADRENA_IDL = Idl(json.loads(resources.files("liqctl.venues").joinpath("adrena.json").read_text()))
KINDS = ("Position", "Custody", "Pool", "Oracle", "Cortex", "UserProfile")
ORACLE_VERSION = 3
LONG, SHORT = 1, 2
NOBODY = "1" * 32
HEAD = 8

_HEADS = {ADRENA_IDL.account_discriminator(kind): kind for kind in KINDS}
_PER_SLOT = 8


class Unreadable(LayoutError):
    """Bytes that are no account of this version of the program."""

    def __init__(self, reason: Refusal, message: str) -> None:
        """Take what kind of fault it is, and what is wrong."""
        super().__init__(message)
        self.reason = reason


class Funding(NamedTuple):
    """What longs have paid shorts and shorts longs in all, per unit of size in 1e-9."""

    long_to_short: int
    short_to_long: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """A position as it stands in the account; money in 1e-6 USD, the price in 1e-10."""

    owner: str
    pool: str
    custody: str
    collateral_custody: str
    side: int
    open_time: int
    price: int
    size_usd: int
    borrow_size_usd: int
    collateral_usd: int
    unrealized_interest_usd: int
    cumulative_interest_snapshot: int
    locked_amount: int
    exit_fee_usd: int
    liquidation_fee_usd: int
    paid_interest_usd: int
    funding_snapshot: Funding
    funding_paid_usd: int
    funding_received_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyRecord:
    """One token or synthetic asset of a pool; rates in 1e-9 an hour, leverage in bps."""

    pool: str
    mint: str
    token_account: str
    decimals: int
    is_stable: bool
    is_synthetic: bool
    name: str
    leverage_max_bps: int
    feed: int
    trade_feed: int
    interest_rate: int
    interest_update: int
    cumulative_interest: int
    funding_rate: int
    funding_update: int
    funding: Funding


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """A pool: how old its prices may be, and the value of all its assets in 1e-6 USD."""

    name: str
    staleness_s: int
    aum_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One price of the oracle account: value = price * 10**exponent."""

    feed: int
    name: str
    price: int
    confidence: int
    exponent: int
    timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleRecord:
    """Every registered price of the program, in the order of the account."""

    updated_at: int
    slots: tuple[Slot, ...]

    def slot(self, feed: int) -> Slot | None:
        """Return the price of a feed, or None where there is none."""
        return next((one for one in self.slots if one.feed == feed), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRecord:
    """A user's profile: who brought the user; None for nobody."""

    referrer: str | None


def kind_of(blob: bytes) -> str:
    """Return what an account is, by its first bytes and its length.

    Raises:
        Unreadable: it is none of this version's accounts.
    """
    kind = _HEADS.get(blob[:HEAD])
    if kind is None:
        raise Unreadable(Refusal.WRONG_DISCRIMINATOR, f"starts with {blob[:HEAD].hex()!r}")
    expected = HEAD + ADRENA_IDL.account_layout(kind).size
    if len(blob) != expected:
        raise Unreadable(Refusal.WRONG_LENGTH, f"{kind} of {len(blob)} bytes, expected {expected}")
    return kind


def fields(kind: str, blob: bytes) -> Mapping[str, Any]:
    """Return the values of an account by path.

    Raises:
        Unreadable: a value that does not exist.
    """
    try:
        return ADRENA_IDL.account_layout(kind).read(blob, HEAD)
    except LayoutError as error:
        raise Unreadable(Refusal.ABSURD_VALUE, f"{kind}: {error}") from error


def read_position(blob: bytes) -> PositionRecord:
    """Return the record of a Position account.

    Raises:
        Unreadable: a side that is neither long nor short.
    """
    read = fields("Position", blob)
    if read["side"] not in {LONG, SHORT}:
        raise Unreadable(Refusal.ABSURD_VALUE, f"Position: side {read['side']}")
    return PositionRecord(
        owner=key(read["owner"]),
        pool=key(read["pool"]),
        custody=key(read["custody"]),
        collateral_custody=key(read["collateral_custody"]),
        side=read["side"],
        open_time=read["open_time"],
        price=read["price"],
        size_usd=read["size_usd"],
        borrow_size_usd=read["borrow_size_usd"],
        collateral_usd=read["collateral_usd"],
        unrealized_interest_usd=read["unrealized_interest_usd"],
        cumulative_interest_snapshot=_wide(read, "cumulative_interest_snapshot"),
        locked_amount=read["locked_amount"],
        exit_fee_usd=read["exit_fee_usd"],
        liquidation_fee_usd=read["liquidation_fee_usd"],
        paid_interest_usd=read["paid_interest_usd"],
        funding_snapshot=Funding(
            _wide(read, "cumulative_long_to_short_snapshot"),
            _wide(read, "cumulative_short_to_long_snapshot"),
        ),
        funding_paid_usd=read["unrealized_funding_paid_usd"],
        funding_received_usd=read["unrealized_funding_received_usd"],
    )


def read_custody(blob: bytes) -> CustodyRecord:
    """Return the record of a Custody account.

    Raises:
        Unreadable: a value that does not exist.
    """
    read = fields("Custody", blob)
    state = "virtual_funding_state"
    return CustodyRecord(
        pool=key(read["pool"]),
        mint=key(read["mint"]),
        token_account=key(read["token_account"]),
        decimals=read["decimals"],
        is_stable=read["is_stable"] != 0,
        is_synthetic=read["is_synthetic"] != 0,
        name=_text(read["trade_oracle.value"], read["trade_oracle.length"]),
        leverage_max_bps=read["pricing.max_leverage"],
        feed=read["oracle_feed_id"],
        trade_feed=read["trade_oracle_feed_id"],
        interest_rate=read["borrow_rate_state.current_rate"],
        interest_update=read["borrow_rate_state.last_update"],
        cumulative_interest=_wide(read, "borrow_rate_state.cumulative_interest"),
        funding_rate=read[f"{state}.current_rate_long_to_short"],
        funding_update=read[f"{state}.last_update"],
        funding=Funding(
            _wide(read, f"{state}.cumulative_long_to_short"),
            _wide(read, f"{state}.cumulative_short_to_long"),
        ),
    )


def read_pool(blob: bytes) -> PoolRecord:
    """Return the record of a Pool account.

    Raises:
        Unreadable: a value that does not exist.
    """
    read = fields("Pool", blob)
    return PoolRecord(
        name=_text(read["name.value"], read["name.length"]),
        staleness_s=read["multi_oracle_config.staleness_seconds"],
        aum_usd=_wide(read, "aum_usd"),
    )


def read_oracle(blob: bytes) -> OracleRecord:
    """Return the record of the Oracle account.

    Raises:
        Unreadable: another version, or more prices than it has room for.
    """
    values = ADRENA_IDL.account_layout("Oracle").packer.unpack_from(blob, HEAD)
    _, version, count, _, updated_at, *rest = values
    if version != ORACLE_VERSION:
        detail = f"Oracle of version {version}, expected {ORACLE_VERSION}"
        raise Unreadable(Refusal.ABSURD_VALUE, detail)
    if count * _PER_SLOT > len(rest):
        raise Unreadable(Refusal.ABSURD_VALUE, f"Oracle: {count} prices")
    slots = []
    for at in range(0, count * _PER_SLOT, _PER_SLOT):
        price, confidence, timestamp, exponent, feed, _, name, length = rest[at : at + _PER_SLOT]
        slots.append(
            Slot(
                feed=feed,
                name=_text(name, length),
                price=price,
                confidence=confidence,
                exponent=exponent,
                timestamp=timestamp,
            )
        )
    return OracleRecord(updated_at=updated_at, slots=tuple(slots))


def read_profile(blob: bytes) -> ProfileRecord:
    """Return the record of a UserProfile account.

    Raises:
        Unreadable: a value that does not exist.
    """
    referrer = key(fields("UserProfile", blob)["referrer_profile"])
    return ProfileRecord(referrer=None if referrer == NOBODY else referrer)


def key(blob: bytes) -> str:
    """Return a public key as text."""
    return str(Pubkey(blob))


def _wide(read: Mapping[str, Any], path: str) -> int:
    """Return a 128-bit integer that is stored as two of 64, the higher first."""
    return int(read[f"{path}.high"]) << 64 | int(read[f"{path}.low"])


def _text(value: bytes, length: int) -> str:
    text = value[:length].decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
