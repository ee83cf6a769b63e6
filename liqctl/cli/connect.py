"""From settings to the objects that commands call: chain, venue, store, key, keeper."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import is_address
from liqctl.chain.client import Chain
from liqctl.chain.clusters import MAINNET_GENESIS
from liqctl.chain.external_signer import opened_signer
from liqctl.chain.pool import Pool, PoolLimits
from liqctl.chain.rpc import HttpRpc
from liqctl.chain.stream import Subscriptions
from liqctl.chain.wallet import WatchOnly
from liqctl.cli.hermes import hermes_of
from liqctl.cli.options import Session
from liqctl.cli.programs import venue_at, venue_of, venues_of
from liqctl.config import MarketSettings, Settings
from liqctl.core.breaker import BreakerRules
from liqctl.core.guards import (
    SETUP_ACCOUNTS_MAX,
    SIGNATURE_FEE_LAMPORTS,
    TOKEN_ACCOUNT_RENT_LAMPORTS,
    Limits,
)
from liqctl.core.price_terms import PriceTerms
from liqctl.errors import (
    LayoutError,
    LiqctlError,
    RpcError,
    RpcRefused,
    RpcUnreachable,
    SettingsError,
)
from liqctl.keeper.context import Context
from liqctl.keeper.draft import Fees
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.fleet import Fleet
from liqctl.keeper.gate import Gate
from liqctl.keeper.holds import STOP_FILE
from liqctl.keeper.program_version import check_version
from liqctl.keeper.service import Keeper, Streams, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Rng, Signer, Store, SystemClock, SystemRng, Venue
from liqctl.ports.interrupt import interruptible
from liqctl.venues.confirming import facts_for

QUEUE_OF_ONE_PASS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A venue on a cluster that answered, and the endpoints it is read through."""

    settings: Settings
    venue: Venue
    chain: Chain
    rpc: Pool
    clock: Clock
    genesis: str

    @property
    def is_mainnet(self) -> bool:
        """Whether the money on this cluster is real."""
        return self.genesis == MAINNET_GENESIS


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """Open the RPC endpoints for the only venue of the settings; see `connected_all`.

    Raises:
        SettingsError: the settings name several venues, besides what `connected_all` raises.
    """
    venue_of(settings)
    async with connected_all(settings) as connections:
        yield connections[0]


@asynccontextmanager
async def connected_all(settings: Settings) -> AsyncIterator[tuple[Connection, ...]]:
    """Open the RPC endpoints once for all venues, and check that one answers and has the programs.

    Raises:
        RpcError: none answers; what the first said.
        SettingsError: two belong to different clusters; a program is not there, is none, or is of
            another version than its venue.
    """
    clock, venues = SystemClock(), venues_of(settings)
    async with pool_of(settings, clock, SystemRng()) as rpc:
        chain = Chain(rpc, Commitment(settings.commitment))
        try:
            genesis = await rpc.one_genesis()
        except RpcError as error:
            raise _advised(error) from error
        for venue in venues:
            await _check_program(chain, venue, rpc.shown_url)
            try:
                await check_version(chain, venue)
            except LayoutError as error:
                raise SettingsError(str(error)) from error
        yield tuple(
            Connection(
                settings=settings, venue=venue, chain=chain, rpc=rpc, clock=clock, genesis=genesis
            )
            for venue in venues
        )


async def connection_of(connections: Sequence[Connection], pubkey: str) -> Connection:
    """Return the connection to the venue whose program owns an account; a single one unasked.

    Raises:
        LiqctlError: there is no account.
        LayoutError: it belongs to none of the programs.
        RpcError: the node did not answer.
    """
    if len(connections) == 1:
        return connections[0]
    account = (await connections[0].chain.accounts([pubkey])).by_address[pubkey]
    if account is None:
        raise LiqctlError(
            f"no account at {pubkey}: it never was, or the position is closed already; "
            f"`liqctl history --position {pubkey}` shows what this database knows of it"
        )
    venue = venue_at(account.owner, pubkey, [each.venue for each in connections])
    return next(each for each in connections if each.venue is venue)


def pool_of(settings: Settings, clock: Clock, rng: Rng) -> Pool:
    """Return the endpoints of the settings as one; the same URL twice is one endpoint.

    Raises:
        SettingsError: an endpoint must not be called.
    """
    urls = settings.rpc_urls
    each = {url: HttpRpc(url, clock, rng) for url in (*urls, *settings.send_urls)}
    return Pool(
        [each[url] for url in urls],
        [each[url] for url in settings.send_urls],
        clock,
        rng,
        limits=PoolLimits(requests_per_s=settings.rpc_requests_per_s),
    )


def _advised(error: RpcError) -> RpcError:
    """Return the error of the first call with what to do about it."""
    match error:
        case RpcUnreachable():
            return error
        case RpcRefused(code=429):
            advice = "it allows no more calls now; wait, or name another node with --url"
        case RpcRefused(code=401 | 403):
            advice = "it wants to know you; is its key in the URL of --url"
        case _:
            advice = "is it a Solana RPC node; name another one with --url"
    return RpcError(f"{error}: {advice}")


async def _check_program(chain: Chain, venue: Venue, url: str) -> None:
    found = (await chain.accounts([venue.program_id])).by_address[venue.program_id]
    if found is None:
        raise SettingsError(
            f"no program at {venue.program_id} on {url}; "
            "name the right one with --program-id, or --venue NAME=PROGRAM_ID among several"
        )
    if not found.executable:
        raise SettingsError(
            f"{venue.program_id} on {url} is an account, not a program; "
            "name the right one with --program-id, or --venue NAME=PROGRAM_ID among several"
        )


@asynccontextmanager
async def signer_of(
    session: Session, *connections: Connection, wanted: bool = True, ask: bool = True
) -> AsyncIterator[Signer | None]:
    """Yield the liquidator's signer, after asking where the money is real unless told not to.

    A dry run, a command that wants none, and venues that can only be watched get None and touch
    no key.

    Raises:
        SettingsError: the key cannot be used, or it is only a public key.
        GuardError: mainnet-beta without a yes.
    """
    reasons = {each.venue.id: facts_for(each.venue).why_not for each in connections}
    watched = {venue: reason for venue, reason in reasons.items() if reason is not None}
    if wanted:
        for venue, reason in watched.items():
            session.screen.note(f"{venue} can only be watched: {reason}")
    if session.dry_run or not wanted or len(watched) == len(reasons):
        yield None
        return
    async with opened_signer(session.settings.keypair) as signer:
        if isinstance(signer, WatchOnly):
            raise SettingsError(
                f"{signer.address} is a public key and cannot sign; name a key file with --keypair "
                "or use --dry-run"
            )
        if ask and connections[0].is_mainnet:
            confirm(session, f"Send transactions on mainnet-beta with {signer.address}?")
        yield signer


def confirm(session: Session, question: str) -> None:
    """Return when the answer is yes; Ctrl-C ends the program although an event loop is running.

    Raises:
        GuardError: the answer is no, or nobody can be asked.
    """
    with interruptible():
        session.confirm(question)


def dry_liquidator(settings: Settings) -> str | None:
    """Return the address that a dry run simulates for, when --keypair is one; loads no key."""
    return settings.keypair if is_address(settings.keypair) else None


@asynccontextmanager
async def kept(connection: Connection, store: Store) -> AsyncIterator[Context]:
    """Open the context of a keeper around a store, which is closed at the end.

    Raises:
        SettingsError: the store belongs to another cluster.
    """
    async with kept_all([connection], store) as contexts:
        yield contexts[0]


@asynccontextmanager
async def kept_all(
    connections: Sequence[Connection], store: Store
) -> AsyncIterator[tuple[Context, ...]]:
    """Open a context for each connection around one store, which is closed at the end.

    Raises:
        SettingsError: the store belongs to another cluster, or Hermes cannot be used as it is set.
    """
    thread, rng, first = StoreThread(store), SystemRng(), connections[0]
    try:
        await _check_home(first, thread)
        owner, fleet = rng.token(16), Fleet()
        async with hermes_of(first.settings, first.clock, rng) as hermes:
            yield tuple(
                Context(
                    venue=connection.venue,
                    chain=connection.chain,
                    store=thread,
                    clock=connection.clock,
                    rng=rng,
                    owner=owner,
                    fleet=fleet,
                    hermes=hermes,
                )
                for connection in connections
            )
    finally:
        await thread.close()


async def _check_home(connection: Connection, thread: StoreThread) -> None:
    """Tie a store to one cluster: an attempt of another one could never be settled here."""
    known = await thread.run(thread.store.state, "genesis")
    quoted = f'"{connection.genesis}"'
    if known is None:
        now_ms = connection.clock.unix_ms()
        await thread.run(thread.store.put_state, "genesis", quoted, now_ms)
    elif known[0] != quoted:
        raise SettingsError(
            f"the database {connection.settings.database_url} belongs to the cluster with genesis "
            f"{known[0]}, this one has {quoted}; name another with --database"
        )


def keeper_of(
    context: Context,
    settings: Settings,
    *,
    signer: Signer | None,
    liquidator: str | None = None,
    streams: bool = True,
) -> Keeper:
    """Return a wired keeper of one venue; see `keepers_of`."""
    [keeper] = keepers_of(
        [context], settings, signer=signer, liquidator=liquidator, streams=streams
    )
    return keeper


def keepers_of(
    contexts: Sequence[Context],
    settings: Settings,
    *,
    signer: Signer | None,
    liquidator: str | None = None,
    streams: bool = True,
) -> tuple[Keeper, ...]:
    """Return a wired keeper for each venue; they share one gate, and without a signer have none.

    Without streams they are for one pass, whose queue holds everything that is found. On a venue
    that can only be watched nothing is drafted for any liquidator.
    """
    gate, tuning = None, tuning_of(settings)
    if signer is not None:
        chain, clock = contexts[0].chain, contexts[0].clock
        gate = Gate(chain, signer, clock, sends_per_second_max=settings.max_sends_per_s)
        liquidator = signer.address
    if not streams:
        tuning = replace(tuning, queue_capacity=QUEUE_OF_ONE_PASS)
    keepers: list[Keeper] = []
    for context in contexts:
        liquidates = facts_for(context.venue).why_not is None
        keepers.append(
            Keeper(
                context,
                gate=gate if liquidates else None,
                liquidator=liquidator if liquidates else None,
                streams=_streams_of(context, settings) if streams else None,
                tuning=tuning,
                stop_file=stop_file_of(settings),
            )
        )
    return tuple(keepers)


def _streams_of(context: Context, settings: Settings) -> Streams:
    urls, level = settings.ws_urls, Commitment(settings.commitment)
    return Streams(
        prices=Subscriptions(urls, context.clock, context.rng, commitment=level),
        accounts=Subscriptions(urls, context.clock, context.rng, commitment=level),
    )


def stop_file_of(settings: Settings) -> Path | None:
    """Return the file whose presence stops every keeper on the database: STOP beside it.

    Beside a database on a server there is none.
    """
    from liqctl.store.open import is_postgres, sqlite_path  # noqa: PLC0415 - 180 ms, not for --help

    if is_postgres(settings.database_url):
        return None
    database = sqlite_path(settings.database_url)
    return None if database == ":memory:" else Path(database).with_name(STOP_FILE)


def prices_of(settings: Settings, own: MarketSettings | None = None) -> PriceTerms:
    """Return what prices have to satisfy, everywhere or in a market with settings of its own."""
    told = MarketSettings() if own is None else own

    def chosen(name: str) -> int:
        here = getattr(told, name)
        return int(getattr(settings, name) if here is None else here)

    return PriceTerms(
        sources=told.price_sources or settings.price_sources,
        sources_min=told.price_sources_min or 1,
        feed_id=told.feed_id,
        age_s_max=chosen("price_max_age_s"),
        confidence_bps_max=chosen("price_max_confidence_bps"),
        jump_bps_max=chosen("price_max_jump_bps"),
        band_bps_max=chosen("price_band_bps"),
        confidence_permille=chosen("price_confidence_multiple_permille"),
    )


def tuning_of(settings: Settings) -> Tuning:
    """Return the numbers of a keeper from the settings."""
    setup = SETUP_ACCOUNTS_MAX * TOKEN_ACCOUNT_RENT_LAMPORTS
    return Tuning(
        intervals=Intervals(
            check_ms=settings.check_interval_ms,
            insurance_ms=settings.insurance_interval_ms,
            cache_ms=settings.price_cache_ms,
        ),
        limits=Limits(
            transaction_lamports=settings.max_fee_lamports + SIGNATURE_FEE_LAMPORTS + setup,
            hour_lamports=settings.spend_hour_lamports,
            day_lamports=settings.spend_day_lamports,
            balance_lamports_min=settings.min_balance_lamports,
            in_flight_max=settings.max_in_flight,
            attempts_max=settings.max_retries + 1,
            reward_min=settings.min_reward,
            prices=prices_of(settings),
            market_prices={
                symbol: prices_of(settings, own) for symbol, own in settings.markets.items()
            },
            markets_allowed=frozenset(settings.markets_allow),
            markets_denied=frozenset(settings.markets_deny),
            profit_floor_permille=settings.profit_floor_permille,
            sol_price_e6=settings.sol_price_e6,
            sends_per_second_max=settings.max_sends_per_s,
        ),
        fees=Fees(
            compute_unit_limit=settings.compute_unit_limit,
            price_micro_lamports=settings.priority_fee_micro_lamports_per_cu,
            cap_lamports=settings.max_fee_lamports,
            dynamic=settings.priority_fee_mode == "dynamic",
            percentile=settings.priority_fee_percentile,
            above_reward=settings.fee_above_reward,
            compute_unit_margin_percent=settings.compute_unit_margin_percent,
        ),
        breaker=BreakerRules(
            failures_max=settings.breaker_failures_max,
            unprofitable_max=settings.breaker_unprofitable_max,
        ),
        queue_capacity=settings.queue_capacity,
        shadow_rate=settings.shadow_rate,
    )
