"""The perpetuals program's instructions on account bytes: what each would answer or fail with."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from solders.pubkey import Pubkey

from liqctl.core.account import Account
from liqctl.venues.perpetuals_layout import (
    CustodyRecord,
    PositionRecord,
    Unreadable,
    read_custody,
    read_position,
)
from liqctl.venues.perpetuals_math import Refused
from liqctl.venues.perpetuals_oracle import (
    OracleAccount,
    Source,
    prices_of,
    reported_prices_of,
    source_of,
)
from liqctl.venues.perpetuals_settle import (
    HEALTHY,
    PAUSED,
    Payout,
    check_payable,
    payout_of,
)
from liqctl.venues.perpetuals_verdict import (
    Prices,
    Terms,
    gain_of,
    is_liquidatable,
    liquidation_price_e6,
    lowest_price,
    terms_of,
)

NOT_INITIALIZED = 3012
CONSTRAINT_RAW, CONSTRAINT_SEEDS = 2003, 2006

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What one instruction is given, as it lies on the chain; None for what is not there.

    The accounts that decide nothing (token accounts, the pool) are taken to be in order.
    """

    program_id: str
    position: Account | None
    custody: Account | None
    collateral_custody: Account | None
    custody_oracle: OracleAccount | None
    collateral_oracle: OracleAccount | None
    now_s: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    position: PositionRecord
    custody: CustodyRecord
    collateral: CustodyRecord
    source: Source
    collateral_source: Source
    now_s: int

    def priced(self) -> tuple[Prices, Terms]:
        prices = prices_of(
            self.custody, self.collateral, self.source, self.collateral_source, self.now_s
        )
        return prices, terms_of(self.custody, self.collateral, prices, self.now_s)


def liquidation_state(accounts: Accounts) -> int:
    """Return what `get_liquidation_state` answers: 1 for liquidatable, 0 for healthy.

    Raises:
        Refused: with the code that the instruction fails with.
    """
    loaded = _view(accounts)
    return int(is_liquidatable(loaded.position, loaded.priced()[1]))


def profit_and_loss(accounts: Accounts) -> tuple[int, int]:
    """Return what `get_pnl` answers, in 1e-6 USD.

    Raises:
        Refused: with the code that the instruction fails with.
    """
    loaded = _view(accounts)
    gain = gain_of(loaded.position, loaded.priced()[1], settling=False)
    return gain.profit, gain.loss


def liquidation_price(accounts: Accounts) -> int:
    """Return what `get_liquidation_price` answers without a change of collateral, in 1e-6 USD.

    Raises:
        Refused: with the code that the instruction fails with.
    """
    loaded = _view(accounts)
    prices = reported_prices_of(
        loaded.custody, loaded.collateral, loaded.source, loaded.collateral_source, loaded.now_s
    )
    lowest_price(loaded.collateral, prices)
    terms = terms_of(loaded.custody, loaded.collateral, prices, loaded.now_s)
    return liquidation_price_e6(loaded.position, terms)


def liquidate(accounts: Accounts) -> Payout:
    """Return what `liquidate` pays, with closing allowed by the program's own account.

    Raises:
        Refused: with the code that the instruction fails with.
    """
    loaded = _load(accounts)
    _check_liquidate(accounts, loaded)
    if not loaded.custody.allow_close:
        raise Refused(PAUSED, "market_paused")
    _check_clock(accounts)
    prices, terms = loaded.priced()
    if not is_liquidatable(loaded.position, terms):
        raise Refused(HEALTHY, "healthy")
    payout = payout_of(loaded.position, terms)
    custody, collateral = loaded.custody, loaded.collateral
    check_payable(payout, loaded.position, custody, collateral, prices, loaded.now_s)
    return payout


def _view(accounts: Accounts) -> _Loaded:
    loaded = _load(accounts)
    _check_position(accounts, loaded)
    custody = loaded.custody
    seeds = [b"custody", _raw(custody.pool), _raw(custody.mint), bytes([custody.bump])]
    if accounts.custody is None or not _derives(
        seeds, accounts.program_id, accounts.custody.address
    ):
        raise Refused(CONSTRAINT_SEEDS, "custody_address")
    _check_collateral(accounts, loaded)
    _check_clock(accounts)
    return loaded


def _load(accounts: Accounts) -> _Loaded:
    position = _deserialized(accounts.position, read_position)
    custody = _deserialized(accounts.custody, read_custody)
    collateral = _deserialized(accounts.collateral_custody, read_custody)
    program = accounts.program_id
    return _Loaded(
        position,
        custody,
        collateral,
        source_of(custody.oracle, accounts.custody_oracle, program),
        source_of(collateral.oracle, accounts.collateral_oracle, program),
        accounts.now_s,
    )


def _deserialized(account: Account | None, read: Callable[[bytes], T]) -> T:
    if account is None:
        raise Refused(NOT_INITIALIZED, "account_missing")
    try:
        return read(account.data)
    except Unreadable as error:
        raise Refused(error.code, "account_unreadable") from error


def _check_liquidate(accounts: Accounts, loaded: _Loaded) -> None:
    _check_position(accounts, loaded)
    if accounts.custody is None or _raw(accounts.custody.address) != loaded.position.custody:
        raise Refused(CONSTRAINT_RAW, "other_custody")
    _check_collateral(accounts, loaded)
    held = loaded.collateral
    seeds = [b"custody_token_account", _raw(held.pool), _raw(held.mint)]
    seeds.append(bytes([held.token_account_bump]))
    if not _derives(seeds, accounts.program_id, held.token_account):
        raise Refused(CONSTRAINT_SEEDS, "token_account_address")


def _check_position(accounts: Accounts, loaded: _Loaded) -> None:
    """Refuse a position whose address does not come from its owner, market and side."""
    record, at, custody = loaded.position, accounts.position, accounts.custody
    if at is None or custody is None:
        raise Refused(NOT_INITIALIZED, "account_missing")
    # The program derives with the pool it is given, which is not among the accounts here.
    for pool in {record.pool, _raw(loaded.custody.pool)}:
        tail = [_raw(custody.address), bytes([record.side]), bytes([record.bump])]
        if _derives([b"position", record.owner, pool, *tail], accounts.program_id, at.address):
            return
    raise Refused(CONSTRAINT_SEEDS, "position_address")


def _check_collateral(accounts: Accounts, loaded: _Loaded) -> None:
    at = accounts.collateral_custody
    if at is None or _raw(at.address) != loaded.position.collateral_custody:
        raise Refused(CONSTRAINT_RAW, "other_collateral_custody")


def _check_clock(accounts: Accounts) -> None:
    if accounts.now_s <= 0:
        raise Refused(None, "clock_unusable")


def _derives(seeds: list[bytes], program_id: str, address: str) -> bool:
    joined = b"".join([*seeds, _raw(program_id), b"ProgramDerivedAddress"])
    return hashlib.sha256(joined).digest() == _raw(address)


def _raw(address: str) -> bytes:
    return bytes(Pubkey.from_string(address))
