"""From settings to the objects that commands call: chain, venue, store, key, keeper."""

import signal
from collections.abc import AsyncIterator
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
from liqctl.cli.options import Session
from liqctl.config import Settings
from liqctl.core.account import Gone, Undecodable
from liqctl.core.breaker import BreakerRules
from liqctl.core.guards import (
    SETUP_ACCOUNTS_MAX,
    SIGNATURE_FEE_LAMPORTS,
    TOKEN_ACCOUNT_RENT_LAMPORTS,
    Limits,
)
from liqctl.errors import LayoutError, RpcError, RpcRefused, RpcUnreachable, SettingsError
from liqctl.keeper.context import Context
from liqctl.keeper.decode import decode
from liqctl.keeper.draft import Fees
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.gate import Gate
from liqctl.keeper.holds import STOP_FILE
from liqctl.keeper.service import Keeper, Streams, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Rng, Signer, Store, SystemClock, SystemRng, Venue
from liqctl.venues.confirming import DemandsAccounts, facts_for
from liqctl.venues.idl import Idl
from liqctl.venues.mapping import VenueMap, read_mapping
from liqctl.venues.registry import open_mapped, open_venue

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
    """Open the RPC endpoints and check that one answers and has the program.

    Raises:
        RpcError: none answers; what the first said.
        SettingsError: two belong to different clusters, the program is not there or is none.
        LayoutError: the program is of another version than its venue.
    """
    clock = SystemClock()
    async with pool_of(settings, clock, SystemRng()) as rpc:
        chain = Chain(rpc, Commitment(settings.commitment))
        venue = venue_of(settings)
        try:
            genesis = await rpc.one_genesis()
        except RpcError as error:
            raise _advised(error) from error
        await _check_program(chain, venue, rpc.shown_url)
        await check_version(chain, venue)
        yield Connection(
            settings=settings, venue=venue, chain=chain, rpc=rpc, clock=clock, genesis=genesis
        )


def venue_of(settings: Settings) -> Venue:
    """Return the venue of the settings: a user's own where an IDL and a mapping are named.

    Raises:
        SettingsError: a file cannot be read or used, or the program id is missing or no key.
    """
    mapped = mapping_of(settings)
    if mapped is None:
        return open_venue(settings.venue, settings.program_id)
    return open_mapped(mapped, settings.program_id)


def mapping_of(settings: Settings) -> VenueMap | None:
    """Return the mapping of the user's own program, or None where none is named.

    Raises:
        SettingsError: only one of IDL and mapping is named, or a file cannot be read or used.
    """
    if settings.idl is None and settings.mapping is None:
        return None
    if settings.idl is None or settings.mapping is None:
        raise SettingsError(
            "--idl and --mapping belong together; `liqctl venues init --idl FILE` writes a mapping"
        )
    idl = read_idl(settings.idl)
    return read_mapping(settings.mapping, read_file(settings.mapping), idl)


def read_idl(path: str) -> Idl:
    """Return the interface that a file describes.

    Raises:
        SettingsError: the file cannot be read, or is no IDL.
    """
    try:
        return Idl.parse(read_file(path))
    except LayoutError as error:
        raise SettingsError(f"{path} is no IDL that can be used: {error}") from error


def read_file(path: str) -> str:
    """Return the text of a file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error


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
            f"no program at {venue.program_id} on {url}; name the right one with --program-id"
        )
    if not found.executable:
        raise SettingsError(
            f"{venue.program_id} on {url} is an account, not a program; "
            "name the right one with --program-id"
        )


async def check_version(chain: Chain, venue: Venue) -> None:
    """Refuse a program of another version than the venue was written for, where it can tell.

    Raises:
        LayoutError: which account is not as it should be.
    """
    if not isinstance(venue, DemandsAccounts):
        return
    answer = await chain.accounts(venue.demanded())
    for address, account in answer.by_address.items():
        value = decode(venue, address, account, answer.slot).value
        if isinstance(value, Undecodable | Gone):
            what = value.detail if isinstance(value, Undecodable) else "there is none"
            raise LayoutError(
                f"the program {venue.program_id} is of another version than the {venue.id} venue "
                f"was written for: account {address}, {what}; look for a newer liqctl"
            )


@asynccontextmanager
async def signer_of(
    session: Session, connection: Connection, *, wanted: bool = True, ask: bool = True
) -> AsyncIterator[Signer | None]:
    """Yield the liquidator's signer, after asking where the money is real unless told not to.

    A dry run, a command that wants none, and a venue that can only be watched get None and touch
    no key.

    Raises:
        SettingsError: the key cannot be used, or it is only a public key.
        GuardError: mainnet-beta without a yes.
    """
    reason = facts_for(connection.venue).why_not
    if wanted and reason is not None:
        session.screen.note(f"{connection.venue.id} can only be watched: {reason}")
    if session.dry_run or not wanted or reason is not None:
        yield None
        return
    async with opened_signer(session.settings.keypair) as signer:
        if isinstance(signer, WatchOnly):
            raise SettingsError(
                f"{signer.address} is a public key and cannot sign; name a key file with --keypair "
                "or use --dry-run"
            )
        if ask and connection.is_mainnet:
            confirm(session, f"Send transactions on mainnet-beta with {signer.address}?")
        yield signer


def confirm(session: Session, question: str) -> None:
    """Return when the answer is yes; Ctrl-C ends the program although an event loop is running.

    Raises:
        GuardError: the answer is no, or nobody can be asked.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        session.confirm(question)
    finally:
        signal.signal(signal.SIGINT, before)


def dry_liquidator(settings: Settings) -> str | None:
    """Return the address that a dry run simulates for, when --keypair is one; loads no key."""
    return settings.keypair if is_address(settings.keypair) else None


@asynccontextmanager
async def kept(connection: Connection, store: Store) -> AsyncIterator[Context]:
    """Open the context of a keeper around a store, which is closed at the end.

    Raises:
        SettingsError: the store belongs to another cluster or program.
    """
    thread = StoreThread(store)
    try:
        await _check_home(connection, thread)
        rng = SystemRng()
        yield Context(
            venue=connection.venue,
            chain=connection.chain,
            store=thread,
            clock=connection.clock,
            rng=rng,
            owner=rng.token(16),
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
    """Return a wired keeper; without a signer it has no gate and can send nothing.

    Without streams it is for one pass, whose queue holds everything that is found. On a venue
    that can only be watched nothing is drafted for any liquidator.
    """
    if facts_for(context.venue).why_not is not None:
        signer = liquidator = None
    rng, tuning = context.rng, tuning_of(settings)
    urls = settings.ws_urls
    level = Commitment(settings.commitment)
    both = (
        Streams(
            prices=Subscriptions(urls, context.clock, rng, commitment=level),
            accounts=Subscriptions(urls, context.clock, rng, commitment=level),
        )
        if streams
        else None
    )
    gate = None
    if signer is not None:
        sends = settings.max_sends_per_s
        gate = Gate(context.chain, signer, context.clock, sends_per_second_max=sends)
    return Keeper(
        context,
        gate=gate,
        liquidator=signer.address if signer is not None else liquidator,
        streams=both,
        tuning=tuning if streams else replace(tuning, queue_capacity=QUEUE_OF_ONE_PASS),
        stop_file=stop_file_of(settings),
    )


def stop_file_of(settings: Settings) -> Path | None:
    """Return the file whose presence stops every keeper on the database: STOP beside it."""
    from liqctl.store.open import sqlite_path  # noqa: PLC0415 - 180 ms, not for --help

    database = sqlite_path(settings.database_url)
    return None if database == ":memory:" else Path(database).with_name(STOP_FILE)


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
            price_age_s_max=settings.price_max_age_s,
            price_confidence_bps_max=settings.price_max_confidence_bps,
            price_jump_bps_max=settings.price_max_jump_bps,
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
    )
