"""What the liquidator has and what it has spent, read now and then for others to see."""

from collections import Counter

import structlog

from liqctl.chain.transaction import payer_of
from liqctl.core.guards import DAY_MS, HOUR_MS, Limits
from liqctl.core.status import Spent, Wallet
from liqctl.errors import RpcError, StoreError
from liqctl.keeper.context import Context
from liqctl.ports import Store

log = structlog.get_logger(__name__)

SPENT_S = 5.0
BALANCE_NS = 30_000_000_000


class Purse:
    """Balance and spending of the liquidator as they last were; no decision rests on them.

    The executor reads both afresh before every signature.
    """

    def __init__(self, context: Context, address: str | None, limits: Limits) -> None:
        """Read for this address; without one there is no balance."""
        self._context = context
        self._address = address
        self._limits = limits
        self._balance_lamports: int | None = None
        self._read_ns = 0
        self._spent: tuple[int, int] | None = None
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Read again and again; ends only by cancellation."""
        asked_ns: int | None = None
        while True:
            await self.sum_up()
            now_ns = self._context.clock.monotonic_ns()
            if asked_ns is None or now_ns - asked_ns >= BALANCE_NS:
                asked_ns = now_ns
                await self.read()
            await self._context.clock.sleep(SPENT_S)

    async def sum_up(self) -> None:
        """Read what was spent; a store that fails is counted, and the sums stay as they were."""
        context = self._context
        try:
            now_ms = context.clock.unix_ms()
            self._spent = await context.store.run(spent, context.store.store, now_ms)
        except StoreError:
            self.counts["store_errors"] += 1

    async def read(self) -> None:
        """Read the balance; a node that fails is counted, and the balance stays as it was."""
        context = self._context
        if self._address is None:
            return
        try:
            found = await context.chain.accounts([self._address])
        except RpcError as error:
            self.counts["rpc_errors"] += 1
            log.debug("wallet_not_read", error=str(error))
            return
        account = found.by_address.get(self._address)
        self._balance_lamports = 0 if account is None else account.lamports
        self._read_ns = context.clock.monotonic_ns()

    def wallet(self, now_ns: int) -> Wallet | None:
        """Return what the liquidator has, None without one."""
        if self._address is None:
            return None
        known = self._balance_lamports is not None
        return Wallet(
            address=self._address,
            balance_lamports=self._balance_lamports,
            read_age_ms=(now_ns - self._read_ns) // 1_000_000 if known else None,
            min_lamports=self._limits.balance_lamports_min,
        )

    def spent(self) -> Spent:
        """Return what was spent, beside the caps."""
        hour, day = self._spent or (None, None)
        return Spent(
            hour_lamports=hour,
            day_lamports=day,
            hour_lamports_max=self._limits.hour_lamports,
            day_lamports_max=self._limits.day_lamports,
        )


def spent(store: Store, now_ms: int) -> tuple[int, int]:
    """Return what was spent in the last hour and in the last day, in lamports.

    Raises:
        StoreError: the store cannot be read.
    """
    return store.spent_lamports(now_ms - HOUR_MS), store.spent_lamports(now_ms - DAY_MS)


def in_flight_lamports(store: Store, payer: str) -> int:
    """Return the most that live attempts can still cost a payer, whatever process signed them.

    Raises:
        StoreError: the store cannot be read.
    """
    live = store.live_attempts()
    return sum(each.max_cost_lamports for each in live if payer_of(each.raw) == payer)
