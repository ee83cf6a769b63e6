"""Checks of the endpoints: history, WebSocket, and those beside the preferred one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass

from liqctl.chain.answers import Commitment
from liqctl.chain.client import Chain
from liqctl.chain.notice import SlotNotice, StreamDown, StreamItem
from liqctl.chain.pool import PoolLimits
from liqctl.chain.rpc import NO_HISTORY
from liqctl.chain.stream import StreamLimits, Subscriptions
from liqctl.errors import LiqctlError, RpcError, RpcRefused
from liqctl.keeper.finding import Check, State, doubtful, failed, passed, refused, skipped
from liqctl.ports import Clock, Rng

UNKNOWN_METHOD = -32601
NO_SUCH_SIGNATURE = "1" * 64
STREAM_S_MAX = 5.0
LAG_SLOTS_MAX = 50
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint to read from, and the WebSocket that belongs to it."""

    chain: Chain
    ws_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The preferred endpoint, those that stand in for it, and those that are only sent to."""

    preferred: Endpoint
    fallbacks: tuple[Endpoint, ...]
    sending: tuple[Chain, ...]
    program_id: str
    clock: Clock
    rng: Rng


async def company_checks(ends: Endpoints, genesis: str | None) -> AsyncIterator[Check]:
    """Yield the checks of the endpoints beside the preferred one, whose genesis hash is known.

    Nothing where it stands alone; None for the hash where it does not answer.
    """
    reached: list[tuple[str, Chain]] = [] if genesis is None else [("rpc", ends.preferred.chain)]
    for number, one in enumerate(ends.fallbacks, 1):
        name = f"fallback_{number}"
        check = await _of_one_cluster(name, one.chain, genesis, ends.clock)
        yield check
        if check.state is State.FAIL:
            yield skipped(f"{name}_history", "it cannot be used")
        else:
            reached.append((name, one.chain))
            yield await caught(
                f"{name}_history", history_check(f"{name}_history", one.chain, ends.program_id)
            )
        yield await stream_check(f"{name}_websocket", one, ends, reached=check.state is State.OK)
    for number, chain in enumerate(ends.sending, 1):
        yield await _of_one_cluster(f"send_{number}", chain, genesis, ends.clock, reads=False)
    if len(reached) > 1:
        for check in await _lags(reached):
            yield check


async def _of_one_cluster(
    name: str, chain: Chain, genesis: str | None, clock: Clock, *, reads: bool = True
) -> Check:
    """Return whether an endpoint answers and shows the cluster of the others."""
    where, began_ns = chain.shown_url, clock.monotonic_ns()
    try:
        shown = await chain.genesis_hash()
    except RpcError as error:
        if not reads and isinstance(error, RpcRefused) and error.code == UNKNOWN_METHOD:
            hint = "make sure that it belongs to the same cluster"
            return doubtful(name, f"{where} does nothing but send", hint)
        return refused(name, error, hint="correct its URL, or leave it out")
    took_ms = (clock.monotonic_ns() - began_ns) // _NS_PER_MS
    if genesis is not None and shown != genesis:
        found = f"{where} belongs to another cluster, with genesis {shown}"
        return failed(name, found, "name endpoints of one cluster only")
    return passed(name, f"{where} answered the first call after {took_ms} ms")


async def _lags(reached: Sequence[tuple[str, Chain]]) -> list[Check]:
    """Return how far each endpoint is behind the best of them, all asked at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_slot(chain)) for _, chain in reached]
    found = [task.result() for task in tasks]
    best = max((slot for slot in found if isinstance(slot, int)), default=0)
    return [
        refused(f"{name}_lag", slot)
        if isinstance(slot, RpcError)
        else _lag(f"{name}_lag", slot, best)
        for (name, _), slot in zip(reached, found, strict=True)
    ]


def _lag(name: str, slot: int, best: int) -> Check:
    found = f"slot {slot:,}, {best - slot:,} behind the best"
    if best - slot > PoolLimits().lag_slots_max:
        return doubtful(name, found, "it is passed over while another one can be asked")
    return passed(name, found)


async def _slot(chain: Chain) -> int | RpcError:
    try:
        return await chain.slot(Commitment.CONFIRMED)
    except RpcError as error:
        return error


async def caught(name: str, check: Awaitable[Check]) -> Check:
    """Return the check, or the failed one that its error makes of it."""
    try:
        return await check
    except LiqctlError as error:
        return refused(name, error)


async def history_check(name: str, chain: Chain, program_id: str) -> Check:
    """Return whether old transactions are found: without that no attempt is proven expired."""
    hint = "name a node that keeps the history of transactions"
    try:
        page = await chain.signatures_for_address(program_id)
        asked = page[-1].signature if page else NO_SUCH_SIGNATURE
        status = (await chain.statuses([asked])).statuses[0]
    except RpcRefused as error:
        if error.code in {NO_HISTORY, UNKNOWN_METHOD}:
            return failed(name, str(error), hint)
        raise
    if not page:
        return passed(name, "answers; the program has no transaction yet")
    if status is None:
        return failed(name, f"the status of {asked} in slot {page[-1].slot} is not found", hint)
    return passed(name, f"finds the oldest of the last {len(page):,} transactions of the program")


async def stream_check(name: str, one: Endpoint, ends: Endpoints, *, reached: bool) -> Check:
    """Return whether slots come: a stream that is silent makes the keeper blind, not stop."""
    return await caught(name, _stream(name, one, ends, reached=reached))


async def _stream(name: str, one: Endpoint, ends: Endpoints, *, reached: bool) -> Check:
    hint = "name the WebSocket endpoint with --ws"
    if one is not ends.preferred:
        hint = "it belongs to the URL of the fallback: name one that has it"
    limits = StreamLimits(silence_s=STREAM_S_MAX, connect_s=STREAM_S_MAX)
    stream = Subscriptions(one.ws_url, ends.clock, ends.rng, limits=limits)
    began_ns = ends.clock.monotonic_ns()
    item = await _first_sign(stream)
    if item is None:
        return failed(name, f"no slot within {STREAM_S_MAX:g} s", hint)
    if isinstance(item, StreamDown):
        return failed(name, item.reason, hint)
    took_ms = (item.received_ns - began_ns) // _NS_PER_MS
    found = f"slot {item.slot:,} after {took_ms} ms"
    if not reached:
        return passed(name, found)
    slot = await one.chain.slot(Commitment.PROCESSED)
    if abs(slot - item.slot) > LAG_SLOTS_MAX:
        found = f"{found}, but the RPC endpoint is at slot {slot:,}"
        return doubtful(name, found, "one of the two lags: name both of one node")
    return passed(name, found)


async def _first_sign(stream: Subscriptions) -> SlotNotice | StreamDown | None:
    """Return the first slot, or why there is no connection; None when neither comes in time."""
    first: asyncio.Future[SlotNotice | StreamDown] = asyncio.get_running_loop().create_future()

    def sink(item: StreamItem) -> None:
        if isinstance(item, SlotNotice | StreamDown) and not first.done():
            first.set_result(item)

    running = asyncio.create_task(stream.run(sink))
    try:
        async with asyncio.timeout(STREAM_S_MAX):
            return await first
    except TimeoutError:
        return None
    finally:
        running.cancel()
        await asyncio.wait({running})
