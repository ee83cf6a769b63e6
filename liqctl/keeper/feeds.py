"""Sources into the mailbox: the snapshot, two subscriptions, and the polling that is the truth."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field

import structlog

from liqctl.chain.answers import RefusedEntry
from liqctl.chain.notice import AccountNotice, SlotNotice, StreamDown, StreamItem, StreamUp
from liqctl.chain.stream import Subscriptions
from liqctl.core.account import Account, Refusal, Seen, Undecodable
from liqctl.core.events import AccountsSeen, CheckDue, Event, SnapshotSeen
from liqctl.core.position import Market
from liqctl.errors import RpcError
from liqctl.keeper.context import Context
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.keeper.mailbox import Mailbox

log = structlog.get_logger(__name__)

READ_BATCH = 100
PRICES, ACCOUNTS = "prices", "accounts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How often what is read although nothing called for it; milliseconds.

    What was seen within `cache_ms` is not read again.
    """

    check_ms: int = 2_000
    cache_ms: int = 2_000
    insurance_ms: int = 10_000
    reconcile_ms: int = 60_000


@dataclass(slots=True, kw_only=True)
class FeedState:
    """When the sources last gave something; monotonic nanoseconds, 0 for never."""

    snapshot_ns: int = 0
    check_ns: int = 0
    notice_ns: int = 0
    streams_down: int = 0
    rpc_errors: int = 0
    refused_entries: int = 0
    streams_ns: dict[str, int] = field(default_factory=dict)


class Feeds:
    """Everything that puts accounts and the cluster's time into the mailbox.

    Subscriptions only hurry things up: each interval the deciding accounts are read again, and
    each reconciliation all positions.
    """

    def __init__(
        self,
        context: Context,
        mailbox: Mailbox,
        *,
        prices: Subscriptions | None,
        accounts: Subscriptions | None,
        intervals: Intervals,
    ) -> None:
        """Prices have a connection of their own; without connections it is polling alone."""
        self._context = context
        self._mailbox = mailbox
        self._prices = prices
        self._accounts = accounts
        self._intervals = intervals
        self._wanted: dict[str, int] = {}
        self._call = asyncio.Event()
        self._reload = asyncio.Event()
        self._watched: set[str] = {CLOCK_SYSVAR}
        self._seen_ns: dict[str, int] = {}
        self.state = FeedState()
        if prices is not None and accounts is not None:
            self.state.streams_ns = {PRICES: 0, ACCOUNTS: 0}

    def want(self, addresses: Iterable[str], *, min_context_slot: int = 0) -> None:
        """Have addresses read soon, at that slot or later."""
        for address in addresses:
            self._wanted[address] = max(self._wanted.get(address, 0), min_context_slot)
        self._call.set()

    async def load(self) -> None:
        """Read every position, market and price of the venue once, the cluster's time before them.

        Raises:
            RpcError: the node did not answer; nothing is known.
        """
        venue, chain = self._context.venue, self._context.chain
        await self.read(())
        found: list[Account] = []
        refused: list[RefusedEntry] = []
        slot = 0
        for discriminator in venue.discriminators().values():
            snapshot = await chain.program_accounts(venue.program_id, discriminator)
            found += snapshot.accounts
            refused += snapshot.refused
            slot = min(slot, snapshot.slot) if slot else snapshot.slot
        self.state.refused_entries = len(refused)
        seen = [decode(venue, each.address, each, each.slot) for each in found]
        readable = {each.address for each in seen}
        named = {entry.address: entry for entry in refused if entry.address is not None}
        doubtful = [entry for address, entry in named.items() if address not in readable]
        seen += [_refused(entry, slot) for entry in doubtful]
        self._mailbox.put(AccountsSeen(seen=tuple(seen)))
        await self.read(self._dependencies(seen))
        self._mailbox.put(
            SnapshotSeen(
                slot=slot,
                addresses=frozenset(each.address for each in seen),
                nameless=sum(entry.address is None for entry in refused),
            )
        )
        self.want(each.address for each in seen[len(readable) :])
        self.state.snapshot_ns = self._context.clock.monotonic_ns()
        log.debug("snapshot_taken", accounts=len(found), refused=len(refused), slot=slot)

    async def load_markets(self) -> None:
        """Read every market and its price once, and no position.

        Raises:
            RpcError: the node did not answer.
        """
        venue = self._context.venue
        await self.read(())
        discriminator = venue.discriminators()["market"]
        snapshot = await self._context.chain.program_accounts(venue.program_id, discriminator)
        seen = [decode(venue, each.address, each, each.slot) for each in snapshot.accounts]
        self._mailbox.put(AccountsSeen(seen=tuple(seen)))
        await self.read(self._dependencies(seen))

    async def read(self, addresses: Iterable[str], *, min_context_slot: int = 0) -> None:
        """Read addresses and the Clock into the mailbox, and watch prices from now on.

        Raises:
            RpcError: the node did not answer.
        """
        asked = [*dict.fromkeys(addresses), CLOCK_SYSVAR]
        answer = await self._context.chain.accounts(
            asked, min_context_slot=min_context_slot or None
        )
        events: list[Event] = []
        clock = decode_clock(answer.by_address.get(CLOCK_SYSVAR))
        if clock is not None:
            events.append(clock)
        seen = tuple(
            decode(self._context.venue, address, account, answer.slot)
            for address, account in answer.by_address.items()
            if address != CLOCK_SYSVAR
        )
        events.append(AccountsSeen(seen=seen))
        now_ns = self._context.clock.monotonic_ns()
        self._seen_ns.update(
            (each.address, now_ns) for each in seen if each.address in self._watched
        )
        for event in events:
            self._mailbox.put(event)

    async def run(self) -> None:
        """Keep the mailbox fed; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            if self._prices is not None and self._accounts is not None:
                self._prices.watch_account(CLOCK_SYSVAR)
                for discriminator in self._context.venue.discriminators().values():
                    program = self._context.venue.program_id
                    self._accounts.watch_program(program, discriminator)
                tasks.create_task(self._prices.run(self._take_price), name="prices")
                tasks.create_task(self._accounts.run(self._take), name="accounts")
            tasks.create_task(self._check(), name="check")
            tasks.create_task(self._reconcile(), name="reconcile")
            tasks.create_task(self._read_wanted(), name="wanted")

    def _take_price(self, item: StreamItem) -> None:
        """Put a notice of the price connection into the mailbox, with its time of arrival."""
        self._put(item, timed=True)

    def _take(self, item: StreamItem) -> None:
        """Put a notice of the position connection into the mailbox."""
        self._put(item, timed=False)

    def _put(self, item: StreamItem, *, timed: bool) -> None:
        if not isinstance(item, StreamDown):
            self.state.notice_ns = self._context.clock.monotonic_ns()
            self.state.streams_ns[PRICES if timed else ACCOUNTS] = self.state.notice_ns
        match item:
            case AccountNotice() if item.address == CLOCK_SYSVAR:
                clock = decode_clock(item.account)
                if clock is not None:
                    self._mailbox.put(clock)
            case AccountNotice():
                seen = decode(self._context.venue, item.address, item.account, item.slot)
                received_ns = item.received_ns if timed else 0
                if timed:
                    self._seen_ns[item.address] = item.received_ns
                self._mailbox.put(AccountsSeen(seen=(seen,), received_ns=received_ns))
            case StreamUp():
                self._reload.set()
            case StreamDown():
                self.state.streams_down += 1
                log.warning("stream_down", reason=item.reason)
            case SlotNotice():
                pass

    def follow(self, addresses: Iterable[str]) -> None:
        """Subscribe to accounts that verdicts depend on, once each."""
        for address in addresses:
            if address not in self._watched:
                self._watched.add(address)
                if self._prices is not None:
                    self._prices.watch_account(address)

    async def _check(self) -> None:
        """Read what verdicts depend on and have everything looked at, each interval."""
        while True:
            await self._context.clock.sleep(self._intervals.check_ms / 1_000)
            if await self._survives(self.read(self._outdated())):
                self.state.check_ns = self._context.clock.monotonic_ns()
            self._mailbox.put(CheckDue())

    def _outdated(self) -> list[str]:
        """Return what is watched and was not seen within the time of the cache."""
        oldest_ns = self._context.clock.monotonic_ns() - self._intervals.cache_ms * 1_000_000
        watched = sorted(self._watched - {CLOCK_SYSVAR})
        return [address for address in watched if self._seen_ns.get(address, 0) < oldest_ns]

    async def _reconcile(self) -> None:
        """Read all positions again at every reconnection and each interval, until it worked."""
        while True:
            try:
                async with asyncio.timeout(self._intervals.reconcile_ms / 1_000):
                    await self._reload.wait()
            except TimeoutError:
                log.debug("reconciliation_due")
            self._reload.clear()
            if not await self._survives(self.load()):
                await self._context.clock.sleep(self._intervals.check_ms / 1_000)
                self._reload.set()

    async def _read_wanted(self) -> None:
        """Read what was asked for, a batch at a time."""
        while True:
            await self._call.wait()
            batch = dict(list(self._wanted.items())[:READ_BATCH])
            if not batch:
                self._call.clear()
                continue
            slot = max(batch.values())
            if await self._survives(self.read(batch, min_context_slot=slot)):
                for address, asked in batch.items():
                    if self._wanted.get(address) == asked:
                        del self._wanted[address]
            else:
                await self._context.clock.sleep(0.5)

    async def _survives(self, reading: Coroutine[None, None, None]) -> bool:
        """Await a read; a node that fails is counted and logged, and the next read comes anyway."""
        try:
            await reading
        except RpcError as error:
            self.state.rpc_errors += 1
            log.warning("read_failed", error=str(error))
            return False
        return True

    def _dependencies(self, seen: Iterable[Seen]) -> list[str]:
        fund = self._context.venue.insurance_address()
        prices = {each.value.price_account for each in seen if isinstance(each.value, Market)}
        wanted = sorted(prices | ({fund} if fund is not None else set()))
        self.follow(wanted)
        return wanted


def _refused(entry: RefusedEntry, slot: int) -> Seen:
    """Return an unusable snapshot entry as an account that counts as unknown."""
    value = Undecodable(reason=Refusal.MALFORMED, detail=entry.fault.value)
    return Seen(address=entry.address or "", slot=slot, value=value)
