"""Accounts of the reference program: bytes to positions, markets and the insurance fund."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from solders.pubkey import Pubkey

from liqctl.core.account import Account, Decoded, Gone, Refusal, Undecodable
from liqctl.core.fixed import BPS, I64_MIN
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceRules
from liqctl.errors import LayoutError
from liqctl.venues.idl import Idl, Layout
from liqctl.venues.tokens import SYSTEM_PROGRAM

DISCRIMINATOR_SIZE = 8
TIERS = 5

REFERENCE_IDL = Idl(
    json.loads(resources.files("liqctl.venues").joinpath("liquidation_engine.json").read_text())
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """What the reference program keeps of a position beside the common fields."""

    id: int
    opened_at: int
    updated_slot: int
    realized_pnl: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRecord:
    """What the reference program lays down for a market; money in 1e-6 quote, ratios in bps."""

    rules: PriceRules
    profit_pool: int
    open_interest_long: int
    open_interest_short: int
    position_count: int
    min_reward: int
    min_position_notional: int
    liquidation_fee_bps: int
    liquidator_share_bps: int
    target_health_bps: int
    tiers: tuple[tuple[int, int], ...]

    def maintenance_bps(self, leverage: int) -> int | None:
        """Return the ratio of the first tier that allows the leverage, or None."""
        return next((bps for leverage_max, bps in self.tiers if leverage <= leverage_max), None)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    discriminator: bytes
    layout: Layout
    build: Callable[[Account, dict[str, Any]], Decoded]


class AccountReader:
    """Decodes every account kind of the program at one address."""

    def __init__(self, program_id: str) -> None:
        """Read accounts that this program owns."""
        self._program_id = program_id

    def decode(self, account: Account) -> Decoded:
        """Return the value of an account, Gone for an empty one, or Undecodable; never raises."""
        found = account.data
        if not found and account.owner == SYSTEM_PROGRAM:
            return Gone()
        if account.owner != self._program_id:
            return _undecodable(Refusal.WRONG_OWNER, f"owned by {account.owner}")
        kind = _KINDS.get(found[:DISCRIMINATOR_SIZE])
        if kind is None:
            head = found[:DISCRIMINATOR_SIZE].hex()
            return _undecodable(Refusal.WRONG_DISCRIMINATOR, f"starts with {head!r}")
        expected = DISCRIMINATOR_SIZE + kind.layout.size
        if len(found) != expected:
            return _undecodable(
                Refusal.WRONG_LENGTH, f"{kind.name} of {len(found)} bytes, expected {expected}"
            )
        try:
            return kind.build(account, kind.layout.read(found, DISCRIMINATOR_SIZE))
        except LayoutError as error:
            return _undecodable(Refusal.ABSURD_VALUE, f"{kind.name}: {error}")

    def positions(self, accounts: Sequence[Account]) -> tuple[np.ndarray[Any, Any], list[int]]:
        """Return the fields of all accounts that `decode` calls positions, and their indices.

        The array has one row a position and the columns of the IDL, integers as on chain.
        """
        head, size = _POSITION.discriminator, DISCRIMINATOR_SIZE + _POSITION.layout.size
        indices = [
            index
            for index, one in enumerate(accounts)
            if one.owner == self._program_id
            and len(one.data) == size
            and one.data[:DISCRIMINATOR_SIZE] == head
        ]
        joined = b"".join(accounts[index].data for index in indices)
        columns = np.dtype([("head", "V8"), ("body", _POSITION.layout.dtype)])
        rows = np.frombuffer(joined, dtype=columns)["body"]
        width = rows.dtype["padding"].itemsize
        padding = np.ascontiguousarray(rows["padding"]).view("u1").reshape(len(rows), width)
        sound = (rows["size"] != 0) & (rows["size"] != I64_MIN)
        sound &= (rows["leverage"] != 0) & ~padding.any(axis=1)
        return rows[sound], [index for index, good in zip(indices, sound, strict=True) if good]


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=detail)


def _demand(condition: bool, text: str) -> None:
    if not condition:
        raise LayoutError(text)


def _key(blob: bytes) -> str:
    return str(Pubkey(blob))


def _position(account: Account, read: dict[str, Any]) -> Position:
    size: int = read["size"]
    _demand(size not in {0, I64_MIN}, f"size {size}")
    _demand(read["leverage"] > 0, "leverage 0")
    _demand(not any(read["padding"]), "padding is not zero: a newer version")
    return Position(
        address=account.address,
        owner=_key(read["owner"]),
        market=_key(read["market"]),
        side=Side.LONG if size > 0 else Side.SHORT,
        size=abs(size),
        entry_price_e6=read["entry_price"],
        collateral=read["collateral"],
        leverage=read["leverage"],
        generation=read["opened_slot"],
        record=PositionRecord(
            id=read["id"],
            opened_at=read["opened_at"],
            updated_slot=read["updated_slot"],
            realized_pnl=read["realized_pnl"],
        ),
    )


def _market(account: Account, read: dict[str, Any]) -> Market:
    _demand(not any(read["padding"]), "padding is not zero: a newer version")
    _demand(read["liquidator_share_bps"] <= BPS, "a liquidator share above 100 %")
    rules = PriceRules(
        owner=_key(read["price_program"]),
        feed_id=read["feed_id"].hex(),
        age_s_max=read["max_price_age_s"],
        confidence_bps_max=read["max_confidence_bps"],
    )
    record = MarketRecord(
        rules=rules,
        profit_pool=read["profit_pool"],
        open_interest_long=read["open_interest_long"],
        open_interest_short=read["open_interest_short"],
        position_count=read["position_count"],
        min_reward=read["min_reward"],
        min_position_notional=read["min_position_notional"],
        liquidation_fee_bps=read["liquidation_fee_bps"],
        liquidator_share_bps=read["liquidator_share_bps"],
        target_health_bps=read["target_health_bps"],
        tiers=_tiers(read),
    )
    return Market(
        address=account.address,
        symbol=_symbol(read["symbol"]),
        price_account=_key(read["price_account"]),
        paused=read["paused"] == 1,
        max_price_age_s=read["max_price_age_s"],
        bound_terms=record.tiers,
        record=record,
    )


def _tiers(read: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Return the tiers in use; the sizing is exact only under the program's own rules for them."""
    listed = [
        (read[f"tiers[{n}].max_leverage"], read[f"tiers[{n}].maintenance_bps"])
        for n in range(TIERS)
    ]
    used = tuple(tier for tier in listed if tier[0])
    _demand(tuple(listed[: len(used)]) == used and bool(used), f"tiers {listed}")
    fee = read["liquidation_fee_bps"]
    for leverage_max, bps in used:
        _demand(0 < bps <= BPS // 2 and bps * leverage_max <= BPS, f"tiers {listed}")
        _demand(fee * (BPS + bps) <= bps * BPS, f"a fee of {fee} bps at a margin of {bps} bps")
    _demand(list(used) == sorted(used, key=lambda tier: tier[0]), f"tiers {listed}")
    _demand(read["target_health_bps"] > BPS, f"target health {read['target_health_bps']} bps")
    return used


def _symbol(padded: bytes) -> str:
    """Return the symbol as text; the program allows any bytes, so odd ones are escaped."""
    text = padded.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _fund(account: Account, read: dict[str, Any]) -> InsuranceState:
    _demand(not any(read["padding"]), "padding is not zero: a newer version")
    return InsuranceState(
        address=account.address,
        balance=read["balance"],
        bad_debt_covered=read["bad_debt_covered"],
        bad_debt_uncovered=read["bad_debt_uncovered"],
        liquidation_count=read["liquidation_count"],
        mint=_key(read["mint"]),
        vault=_key(read["vault"]),
    )


def _kind(name: str, build: Callable[[Account, dict[str, Any]], Decoded]) -> _Kind:
    head = REFERENCE_IDL.account_discriminator(name)
    return _Kind(name, head, REFERENCE_IDL.account_layout(name), build)


_POSITION = _kind("Position", _position)
_KINDS = {
    one.discriminator: one
    for one in (_POSITION, _kind("Market", _market), _kind("InsuranceFund", _fund))
}
