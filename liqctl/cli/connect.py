"""From settings to the objects that commands call: chain, venue, store, key, keeper."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import is_address
from liqctl.chain.client import Chain
from liqctl.chain.clusters import MAINNET_GENESIS
from liqctl.chain.rpc import HttpRpc
from liqctl.chain.stream import Subscriptions
from liqctl.chain.wallet import WatchOnly, load_signer
from liqctl.cli.options import Session
from liqctl.config import Settings
from liqctl.core.guards import (
    SETUP_ACCOUNTS_MAX,
    SIGNATURE_FEE_LAMPORTS,
    TOKEN_ACCOUNT_RENT_LAMPORTS,
    Limits,
)
from liqctl.errors import RpcError, RpcRefused, RpcUnreachable, SettingsError
from liqctl.keeper.context import Context
from liqctl.keeper.draft import Fees
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.gate import Gate
from liqctl.keeper.holds import STOP_FILE
from liqctl.keeper.service import Keeper, Streams, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Signer, Store, SystemClock, SystemRng, Venue
from liqctl.venues.registry import open_venue

QUEUE_OF_ONE_PASS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A venue on a cluster that answered, and the endpoint it is read through."""

    settings: Settings
    venue: Venue
    chain: Chain
    rpc: HttpRpc
    clock: Clock
    genesis: str

    @property
    def is_mainnet(self) -> bool:
        """Whether the money on this cluster is real."""
        return self.genesis == MAINNET_GENESIS


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """Open the RPC endpoint and check that it answers and has the program.

    Raises:
        RpcError: it does not answer.
        SettingsError: the program is not there, or is no program.
    """
    clock = SystemClock()
    async with HttpRpc(settings.rpc_url, clock, SystemRng()) as rpc:
        chain = Chain(rpc, Commitment(settings.commitment))
        venue = open_venue(settings.venue, settings.program_id)
        try:
            genesis = await chain.genesis_hash()
        except RpcError as error:
            raise _advised(error) from error
        await _check_program(chain, venue, rpc.shown_url)
        yield Connection(
            settings=settings, venue=venue, chain=chain, rpc=rpc, clock=clock, genesis=genesis
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


async def signer_of(session: Session, connection: Connection, *, ask: bool = True) -> Signer:
    """Return the liquidator's signer after asking where the money is real, unless told not to.

    Raises:
        SettingsError: the key cannot be used, or it is only a public key.
        GuardError: mainnet-beta without a yes.
    """
    source = session.settings.keypair
    signer = await asyncio.get_running_loop().run_in_executor(None, load_signer, source)
    if isinstance(signer, WatchOnly):
        raise SettingsError(
            f"{signer.address} is a public key and cannot sign; name a key file with --keypair "
            "or use --dry-run"
        )
    if ask and connection.is_mainnet:
        confirm(session, f"Send transactions on mainnet-beta with {signer.address}?")
    return signer


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

    Without streams it is for one pass, whose queue holds everything that is found.
    """
    rng, tuning = context.rng, tuning_of(settings)
    url = settings.ws_url
    level = Commitment(settings.commitment)
    both = (
        Streams(
            prices=Subscriptions(url, context.clock, rng, commitment=level),
            accounts=Subscriptions(url, context.clock, rng, commitment=level),
        )
        if streams
        else None
    )
    return Keeper(
        context,
        gate=Gate(context.chain, signer) if signer is not None else None,
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
            markets_allowed=frozenset(settings.markets_allow),
            markets_denied=frozenset(settings.markets_deny),
        ),
        fees=Fees(
            compute_unit_limit=settings.compute_unit_limit,
            price_micro_lamports=settings.priority_fee_micro_lamports_per_cu,
        ),
        queue_capacity=settings.queue_capacity,
    )
