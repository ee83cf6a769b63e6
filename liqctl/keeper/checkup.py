"""A check-up of a whole set-up before it handles money: nothing is sent, nothing is written."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from liqctl.chain.answers import Commitment
from liqctl.chain.client import Chain
from liqctl.chain.clusters import CLUSTERS
from liqctl.chain.rpc import UNHEALTHY
from liqctl.core.account import Gone, Seen
from liqctl.core.guards import SIGNATURE_FEE_LAMPORTS, Limits
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market
from liqctl.core.price import PriceReading, PriceRefusal, confidence_bps, from_future
from liqctl.core.price_policy import Doubt
from liqctl.core.price_terms import PriceTerms
from liqctl.errors import LiqctlError, RpcError, RpcMalformed, RpcRefused
from liqctl.keeper.checkup_endpoints import (
    UNKNOWN_METHOD,
    Endpoint,
    Endpoints,
    caught,
    company_checks,
    history_check,
    stream_check,
)
from liqctl.keeper.checkup_hermes import hermes_check
from liqctl.keeper.checkup_host import database_checks, key_check, limits_check
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.keeper.finding import (
    Check,
    State,
    doubtful,
    exact,
    failed,
    lamports,
    passed,
    refused,
    skipped,
)
from liqctl.keeper.program_version import check_version
from liqctl.oracle.hermes_client import HermesClient
from liqctl.ports import Clock, Rng, Venue

HISTORY_SLOTS_MIN = 216_000
SKEW_MS_MAX = 5_000
QUOTE_DIGITS = 6
_NS_PER_MS = 1_000_000
_UNREACHED = ("health", "history_search", "history_depth", "clock", "cluster", "program")
_OF_PROGRAM = ("markets", "insurance_fund")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is checked: an endpoint and its stream, a program, a key, a database and limits.

    `fee_lamports` is the priority fee of one transaction. Beside the preferred endpoint there may
    be others to read from, and some that are only sent to; and a price service.
    """

    chain: Chain
    clock: Clock
    rng: Rng
    venue: Venue
    ws_url: str
    keypair: str
    database_url: str
    limits: Limits
    fee_lamports: int
    fallbacks: tuple[Endpoint, ...] = ()
    sending: tuple[Chain, ...] = ()
    hermes: HermesClient | None = None

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints alone."""
        return Endpoints(
            preferred=Endpoint(chain=self.chain, ws_url=self.ws_url),
            fallbacks=self.fallbacks,
            sending=self.sending,
            program_id=self.venue.program_id,
            clock=self.clock,
            rng=self.rng,
        )


async def checkup(setup: Setup) -> AsyncIterator[Check]:
    """Yield every check as it ends; `rpc` is the first, and what depends on it is skipped."""
    loop = asyncio.get_running_loop()
    reached, genesis = await _reach(setup)
    yield reached
    if genesis is None:
        cause = "the RPC node does not answer"
        for name in (*_UNREACHED, *_OF_PROGRAM):
            yield skipped(name, cause)
    else:
        async for check in _of_cluster(setup, genesis):
            yield check
    ends = setup.endpoints
    yield await stream_check("websocket", ends.preferred, ends, reached=genesis is not None)
    async for check in company_checks(ends, genesis):
        yield check
    key, payer = await loop.run_in_executor(None, key_check, setup.keypair)
    yield key
    if genesis is None or payer is None:
        cause = "the RPC node does not answer" if payer else "there is no key to pay with"
        yield skipped("balance", cause)
    else:
        yield await caught("balance", _balance(setup, payer))
    now_ms = setup.clock.unix_ms()
    url = setup.database_url
    for check in await loop.run_in_executor(None, database_checks, url, genesis, now_ms):
        yield check
    if setup.hermes is not None:
        yield await hermes_check(setup.hermes, setup.chain, setup.venue, setup.limits)
    yield limits_check(setup.limits, setup.fee_lamports)


async def _reach(setup: Setup) -> tuple[Check, str | None]:
    """Return whether the endpoint answers, and the genesis hash that it told."""
    began_ns = setup.clock.monotonic_ns()
    try:
        genesis = await setup.chain.genesis_hash()
    except RpcError as error:
        return refused("rpc", error, hint="name another node with --url"), None
    took_ms = (setup.clock.monotonic_ns() - began_ns) // _NS_PER_MS
    return passed("rpc", f"answered the first call after {took_ms} ms"), genesis


async def _of_cluster(setup: Setup, genesis: str) -> AsyncIterator[Check]:
    yield await caught("health", _health(setup))
    yield await caught("history_search", _history(setup))
    yield await caught("history_depth", _history_depth(setup))
    yield await caught("clock", _skew(setup))
    cluster = CLUSTERS.get(genesis, "a private cluster")
    yield passed("cluster", f"{cluster}, genesis {genesis}")
    program = await caught("program", _program(setup))
    yield program
    if program.state is State.FAIL:
        for name in _OF_PROGRAM:
            yield skipped(name, "there is no program")
        return
    try:
        for check in await _markets(setup):
            yield check
    except LiqctlError as error:
        yield refused("markets", error)
    yield await caught("insurance_fund", _fund(setup))


async def _health(setup: Setup) -> Check:
    began_ns = setup.clock.monotonic_ns()
    try:
        await setup.chain.health()
    except RpcRefused as error:
        if error.code == UNKNOWN_METHOD:
            return doubtful("health", "the node does not know getHealth", "ask its provider")
        if error.code == UNHEALTHY:
            return failed("health", str(error), "wait for it, or name another node with --url")
        raise
    took_ms = (setup.clock.monotonic_ns() - began_ns) // _NS_PER_MS
    return passed("health", f"the node calls itself healthy, in {took_ms} ms")


async def _history(setup: Setup) -> Check:
    return await history_check("history_search", setup.chain, setup.venue.program_id)


async def _history_depth(setup: Setup) -> Check:
    first = await setup.chain.first_available_block()
    kept = max(await setup.chain.slot(Commitment.FINALIZED) - first, 0)
    found = f"blocks since slot {first:,}: {kept:,} slots"
    if first > 1 and kept < HISTORY_SLOTS_MIN:
        hint = "after a longer standstill an attempt cannot be proven expired through this node"
        return doubtful("history_depth", found, hint)
    return passed("history_depth", found)


async def _skew(setup: Setup) -> Check:
    """Compare with the newest bank that the node shows, which is the least behind."""
    answer = await setup.chain.accounts([CLOCK_SYSVAR])
    clock = decode_clock(answer.by_address[CLOCK_SYSVAR])
    if clock is None:
        raise RpcMalformed("the node does not show the Clock of the cluster")
    ahead_ms = setup.clock.unix_ms() - clock.unix_timestamp * 1_000
    way = "ahead of" if ahead_ms >= 0 else "behind"
    found = f"this host is {abs(ahead_ms) // 1_000} s {way} the cluster"
    if abs(ahead_ms) > SKEW_MS_MAX:
        hint = "synchronise this host's clock by NTP; if it is right, the cluster or node lags"
        return doubtful("clock", found, hint)
    return passed("clock", found)


async def _program(setup: Setup) -> Check:
    address = setup.venue.program_id
    found = (await setup.chain.accounts([address])).by_address[address]
    hint = "name the right one with --program-id"
    if found is None:
        return failed("program", f"no program at {address}", hint)
    if not found.executable:
        return failed("program", f"{address} is an account, not a program", hint)
    await check_version(setup.chain, setup.venue)
    return passed("program", f"{address} is there and executable")


async def _markets(setup: Setup) -> list[Check]:
    """Return a check of the markets together and one of each, all prices of one slot."""
    venue, chain = setup.venue, setup.chain
    snapshot = await chain.program_accounts(venue.program_id, venue.discriminators()["market"])
    hint = "is it the right program; name another with --program-id"
    checks = [failed(f"market:{one.address}", one.fault, hint) for one in snapshot.refused]
    markets: list[Market] = []
    for account in snapshot.accounts:
        value = venue.decode(account)
        if isinstance(value, Market):
            markets.append(value)
        else:
            detail = getattr(value, "detail", "not a market")
            checks.append(failed(f"market:{account.address}", detail, hint))
    if not markets:
        return [failed("markets", "the program has no readable market", hint), *checks]
    prices = [market.price_account for market in markets]
    asked = [*dict.fromkeys([CLOCK_SYSVAR, *prices])]
    answer = await chain.accounts(asked, min_context_slot=snapshot.slot)
    clock = decode_clock(answer.by_address[CLOCK_SYSVAR])
    if clock is None:
        raise RpcMalformed("the node does not show the Clock of the cluster")
    view = {one: decode(venue, one, answer.by_address[one], answer.slot) for one in prices}
    markets.sort(key=lambda market: market.symbol)
    each = [_market(setup, market, view, clock.unix_timestamp) for market in markets]
    return [passed("markets", f"{len(markets)} found"), *checks, *each]


def _market(setup: Setup, market: Market, view: Mapping[str, Seen], now_s: int) -> Check:
    name, limits = f"market:{market.symbol}", setup.limits
    price = setup.venue.mark_price(market, view, now_s)
    reading = view[market.price_account].value
    shown, word = "", price if isinstance(price, str) else None
    if isinstance(reading, PriceReading):
        age_s = now_s - reading.publish_time
        # Between two slots the cluster's clock stands still, and publishers go on.
        shown = f"published {age_s:,} s ago" if age_s >= 0 else f"{-age_s:,} s ahead of the cluster"
        word = word or _own_objection(reading, now_s, limits.prices_of(market.symbol))
    allowed = not limits.markets_allowed or market.symbol in limits.markets_allowed
    if not allowed or market.symbol in limits.markets_denied:
        excluded = "left out by markets_allow or markets_deny"
        return doubtful(name, f"{word or 'usable'}, {excluded}", "nothing is sent in it")
    if word is not None:
        found = f"{word}, {shown}" if shown else word
        return failed(name, found, f"look at {market.price_account}, or see markets_deny")
    if market.paused:
        return doubtful(name, "market_paused", "nothing is sent until its program resumes it")
    value = exact(price, QUOTE_DIGITS) if isinstance(price, int) else price
    return passed(name, f"price {value}, {shown}")


def _own_objection(reading: PriceReading, now_s: int, terms: PriceTerms) -> str | None:
    """Return why we would not send on a price that the program accepts, or None."""
    if from_future(reading, now_s):
        return PriceRefusal.FROM_FUTURE
    if now_s - reading.publish_time > terms.age_s_max:
        return Doubt.OLDER
    if reading.mantissa > 0 and confidence_bps(reading) > terms.confidence_bps_max:
        return Doubt.WIDER
    return None


async def _fund(setup: Setup) -> Check:
    name, address = "insurance_fund", setup.venue.insurance_address()
    if address is None:
        return passed(name, "a program of this kind has none")
    answer = await setup.chain.accounts([address])
    value = decode(setup.venue, address, answer.by_address[address], answer.slot).value
    if isinstance(value, InsuranceState):
        return passed(name, f"{address} holds {exact(value.balance, QUOTE_DIGITS)}")
    hint = "is it the right program; name another with --program-id"
    if isinstance(value, Gone):
        return failed(name, f"there is none at {address}", hint)
    return failed(name, f"{address} is something else", hint)


async def _balance(setup: Setup, payer: str) -> Check:
    """Return whether the payer can keep the balance floor after at least one liquidation."""
    balance = await setup.chain.balance(payer)
    floor, hour = setup.limits.balance_lamports_min, setup.limits.hour_lamports
    found = f"{lamports(balance)} at {payer}"
    if balance < floor + setup.fee_lamports + SIGNATURE_FEE_LAMPORTS:
        hint = f"send it more than {lamports(floor)}: below min_balance_lamports nothing is signed"
        return failed("balance", found, hint)
    if balance < floor + hour:
        hint = f"it reaches the floor before spend_hour_lamports are spent: {lamports(hour)}"
        return doubtful("balance", found, hint)
    return passed("balance", found)
