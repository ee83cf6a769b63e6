"""The proxy before an embedded chain: real sockets, and each kind of fault at a rate of 100 %."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.types import TxOpts
from solders.hash import Hash
from solders.transaction import VersionedTransaction
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import is_signature
from liqctl.chain.client import Chain
from liqctl.chain.rpc import HttpRpc, RpcLimits
from liqctl.errors import RpcMalformed, RpcRefused, SettingsError
from liqctl.localnet.world import World
from liqctl.ports import SystemClock, SystemRng
from liqctl.sim.chaos.exchange import WireLimits
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.profiles import PROFILES
from liqctl.sim.chaos.proxy import ChaosProxy, ProxyLimits
from tests.localnet.chain_world import (
    PAYER,
    PROGRAM,
    RECEIVER,
    SOL,
    ask,
    in_base64,
    transfer_of,
)
from tests.sim.chaos_stage import body_of, faults_of, node, post, proxy_before

ONCE = RpcLimits(retries=0, timeout_s=2.0)


@asynccontextmanager
async def chain_through(
    rates: dict[Fault, float], **options: Any
) -> AsyncIterator[tuple[Chain, World, ChaosProxy]]:
    """Yield a client whose every call meets the faults; it tries once."""
    async with (
        node() as (world, server),
        proxy_before(server, rates, **options) as proxy,
        HttpRpc(proxy.url, SystemClock(), SystemRng(1), limits=ONCE) as rpc,
    ):
        yield Chain(rpc), world, proxy


def received(world: World) -> int:
    """Return what RECEIVER got."""
    found = world.account(RECEIVER)
    return 0 if found is None else found.lamports


def new_transfer(world: World) -> VersionedTransaction:
    """Return a signed transfer of one SOL to RECEIVER, which a confirmed bank takes."""
    latest = ask(world, "getLatestBlockhash", {"commitment": "confirmed"})["value"]["blockhash"]
    return transfer_of(SOL, Hash.from_string(latest))


def sending(transaction: VersionedTransaction) -> bytes:
    """Return the request that sends a transaction as the keeper does it."""
    config = {"encoding": "base64", "preflightCommitment": "confirmed", "minContextSlot": 1}
    return body_of("sendTransaction", in_base64(transaction), config)


def history_of(world: World) -> str:
    """Let a transfer land and become final; return its signature."""
    transaction = new_transfer(world)
    world.submit(transaction)
    for _ in range(40):
        world.tick()
    return str(transaction.signatures[0])


async def everything(chain: Chain) -> list[object]:
    """Return answers of all kinds."""
    addresses = [str(PAYER.pubkey()), str(RECEIVER)]
    return [
        await chain.epoch_info(Commitment.CONFIRMED),
        await chain.accounts(addresses),
        await chain.program_accounts(str(PROGRAM), b"\x01"),
        await chain.latest_blockhash(),
        await chain.signatures_for_address(addresses[0]),
        await chain.genesis_hash(),
    ]


async def test_a_calm_proxy_gives_the_answers_of_the_node():
    async with node() as (world, server), proxy_before(server, {}) as proxy:
        clock, rng = SystemClock(), SystemRng(1)
        async with HttpRpc(server.url, clock, rng) as one, HttpRpc(proxy.url, clock, rng) as other:
            direct, through = Chain(one), Chain(other)
            transaction = new_transfer(world)
            answered = (await post(proxy.url, sending(transaction))).json()["result"]
            own = str(transaction.signatures[0])
            for _ in range(40):
                world.tick()
            known = [await each.statuses([own]) for each in (direct, through)]
            same = await everything(direct) == await everything(through)

        assert (same, own) == (True, answered)
        assert known[0] == known[1]
        assert faults_of(proxy) == {}


async def test_solana_py_works_through_a_calm_proxy():
    async with node() as (world, server), proxy_before(server, {}) as proxy:
        async with AsyncClient(proxy.url, commitment=Confirmed) as client:
            latest = (await client.get_latest_blockhash()).value
            transfer = transfer_of(SOL, latest.blockhash)
            signature = (
                await client.send_transaction(transfer, opts=TxOpts(preflight_commitment=Confirmed))
            ).value
            connected = await client.is_connected()

        assert signature == transfer.signatures[0]
        assert connected
        assert received(world) == SOL


@pytest.mark.parametrize(
    "body",
    [
        body_of("getSlot"),
        b"[" + body_of("getSlot") + b"," + body_of("getGenesisHash", number="x") + b"]",
        b"[]",
        b"{",
        b"",
        body_of("noSuchMethod"),
        b'{"jsonrpc":"2.0","id":null,"method":"getHealth"}',
    ],
)
async def test_a_calm_proxy_passes_bytes_unchanged(body):
    async with node() as (_, server), proxy_before(server, {}) as proxy:
        direct, through = await post(server.url, body), await post(proxy.url, body)

    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert through.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.parametrize(
    ("fault", "met"),
    [
        (Fault.RESET, {None}),
        (Fault.NO_ANSWER, {None}),
        (Fault.SERVER_ERROR, {500, 502, 503, 504}),
        (Fault.RATE_LIMITED, {429}),
        (Fault.RETRY_AFTER, {429}),
        (Fault.UNHEALTHY, {-32005}),
        (Fault.MIN_CONTEXT, {-32016}),
    ],
)
async def test_a_transaction_that_is_cut_off_or_refused_never_reaches_the_node(fault, met):
    async with node() as (world, server), proxy_before(server, {fault: 100}) as proxy:
        found: Any = None
        with contextlib.suppress(httpx.TransportError):
            answer = await post(proxy.url, sending(new_transfer(world)))
            found = answer.status_code
            if found == 200:
                found = answer.json()["error"]["code"]
            assert ("retry-after" in answer.headers) is (fault is Fault.RETRY_AFTER)

        assert found in met
        assert received(world) == 0
        assert faults_of(proxy) == {fault: {"sendTransaction": 1}}


@pytest.mark.parametrize("seed", [1, 2, 5, 6], ids=["reset", "504", "half", "silence"])
async def test_a_lost_reply_is_lost_after_the_effect(seed):
    rates = {Fault.REPLY_LOST: 100.0}
    async with node() as (world, server), proxy_before(server, rates, seed=seed) as proxy:
        with contextlib.suppress(httpx.TransportError):
            answer = await post(proxy.url, sending(new_transfer(world)))
            assert (answer.status_code, seed) == (504, 2)

        assert received(world) == SOL
        assert faults_of(proxy) == {"reply_lost": {"sendTransaction": 1}}
        assert "result" in (await post(proxy.url, body_of("getSlot"))).json()


async def test_a_delay_is_one_of_the_answer():
    rates = {Fault.DELAY: 100.0}
    async with node() as (world, server), proxy_before(server, rates, seed=13) as proxy:
        waiting = asyncio.create_task(post(proxy.url, sending(new_transfer(world))))
        await asyncio.sleep(0.3)
        reached, answered = received(world), waiting.done()

        assert "result" in (await waiting).json()
    assert (reached, answered) == (SOL, False)


async def test_a_lagging_node_is_met_as_one():
    async with chain_through({Fault.STALE: 100}) as (chain, world, _):
        first = await chain.accounts([str(RECEIVER)])
        for _ in range(5):
            world.tick()
        old = await chain.accounts([str(RECEIVER)])
        with pytest.raises(RpcRefused) as caught:
            await chain.accounts([str(RECEIVER)], min_context_slot=first.slot + 1)

        assert old == first
        assert caught.value.code == -32016


async def test_an_amnesic_node_forgets_and_has_no_history():
    async with chain_through({}) as (chain, world, _):
        true = await chain.statuses([history_of(world)])
    async with chain_through({Fault.FORGOTTEN: 100}) as (chain, world, _):
        signature = history_of(world)
        forgotten = await chain.statuses([signature])
        landed = await chain.transaction(signature)
    async with chain_through({Fault.EMPTY_HISTORY: 100}, seed=1) as (chain, world, _):
        signature = history_of(world)
        history = await chain.signatures_for_address(str(RECEIVER))
    async with chain_through({Fault.NO_HISTORY: 100}) as (chain, _, proxy):
        with pytest.raises(RpcRefused) as caught:
            await chain.statuses([signature])
        recent = await post(proxy.url, body_of("getSignatureStatuses", [signature]))

    assert true.statuses[0] is not None
    assert (forgotten.statuses, history, landed) == ((None,), (), None)
    assert caught.value.code == -32011
    assert recent.json()["result"]["value"] == [None]


async def test_lies_are_told_and_those_that_can_be_seen_are_seen():
    async with node() as (world, server):
        async with proxy_before(server, {Fault.WRONG_SIGNATURE: 100}) as proxy:
            transaction = new_transfer(world)
            answer = (await post(proxy.url, sending(transaction))).json()["result"]
        assert is_signature(answer)
        assert answer != str(transaction.signatures[0])
        assert received(world) == SOL
    async with chain_through({Fault.SHORT_ARRAY: 100}) as (chain, _, _):
        with pytest.raises(RpcMalformed):
            await chain.accounts([str(PAYER.pubkey()), str(RECEIVER)])
    async with chain_through({Fault.SLOT_BACKWARDS: 100}) as (chain, world, _):
        assert (await chain.accounts([str(RECEIVER)])).slot < world.slot - 3
        with pytest.raises(RpcMalformed):
            await chain.accounts([str(RECEIVER)], min_context_slot=world.slot - 3)
    async with chain_through({Fault.TRUNCATED_LIST: 100}) as (chain, _, proxy):
        assert len((await chain.program_accounts(str(PROGRAM), b"\x01")).accounts) < 10
        assert faults_of(proxy) == {"truncated_list": {"getProgramAccounts": 1}}


@pytest.mark.parametrize("fault", [Fault.WRONG_TYPE, Fault.NO_JSON])
async def test_an_answer_out_of_form_is_malformed_to_a_client_that_looks(fault):
    async with chain_through({fault: 100}) as (chain, _, _):
        for _ in range(20):
            with pytest.raises(RpcMalformed):
                await chain.latest_blockhash()


async def test_an_outage_takes_everything_down_and_ends():
    async with node(ticking=True) as (_, server):
        async with proxy_before(server, {Fault.OUTAGE: 50}, period_s=2.0) as proxy:
            async with connect(proxy.ws_url, proxy=None) as socket:
                assert (await post(proxy.url, body_of("getSlot"))).status_code == 200
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(socket.recv(), 5)
            with pytest.raises(httpx.TransportError):
                await post(proxy.url, body_of("getSlot"))
            with pytest.raises(InvalidStatus):
                await connect(proxy.ws_url, proxy=None)
            async with asyncio.timeout(5):
                tries = 1
                while not await is_up(proxy):
                    tries += 1
                    await asyncio.sleep(0.05)

        assert faults_of(proxy) == {"outage": {"(socket)": 2, "getSlot": tries}}


async def is_up(proxy: ChaosProxy) -> bool:
    try:
        return (await post(proxy.url, body_of("getSlot"))).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_node_that_is_away_is_told_without_its_url():
    plan = Plan(profile=PROFILES["calm"], seed=1)
    urls = ("http://127.0.0.1:1/SECRETPATH?key=SECRETKEY", "ws://127.0.0.1:1/SECRETPATH")
    async with ChaosProxy(*urls, plan, SystemClock()) as proxy:
        answer = await post(proxy.url, body_of("getSlot"))
        async with connect(proxy.ws_url, proxy=None) as socket:
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()

    told = f"{answer.text} {caught.value} {proxy!r} {proxy.tally.summary()}"
    assert answer.status_code == 502
    assert "SECRET" not in told
    assert "127.0.0.1:1/…" in answer.text
    assert proxy.tally.upstream_failures == 2


async def test_a_compressed_answer_passes_and_can_be_changed():
    plain = json.dumps({"jsonrpc": "2.0", "id": 1, "result": 1_000}).encode()

    async def compressed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = gzip.compress(plain)
        head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    async with await asyncio.start_server(compressed, "127.0.0.1", 0) as upstream:
        url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
        for rates in ({}, {Fault.SLOT_BACKWARDS: 100.0}):
            plan = Plan(profile=PROFILES["calm"].with_rates(rates), seed=1)
            async with ChaosProxy(url, "ws://127.0.0.1:1", plan, SystemClock()) as proxy:
                result = (await post(proxy.url, body_of("getSlot"))).json()["result"]
            assert (result < 1_000) is bool(rates)


async def test_bodies_heads_and_connections_are_bounded():
    tight = ProxyLimits(wire=WireLimits(request_bytes_max=100, connections_max=2, idle_s=0.3))
    async with node() as (_, server), proxy_before(server, {}, limits=tight) as proxy:
        large = await post(proxy.url, b" " * 101)
        head = await post(proxy.url, b"{}", long="x" * 20_000)
        port = int(proxy.url.rpartition(":")[2])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        ends = [await asyncio.wait_for(reader.read(), 2) for reader, _ in idle[:2]]
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(idle[2][0].read(), 2)
        for _, writer in idle:
            writer.close()

    assert (large.status_code, head.status_code, ends) == (413, 431, [b"", b""])


async def test_an_answer_too_large_to_be_changed_is_not_held():
    limits = ProxyLimits(answer_bytes_max=100)
    async with node() as (_, server):
        asked = body_of("getProgramAccounts", str(PROGRAM), {"encoding": "base64"})
        async with proxy_before(server, {Fault.TRUNCATED_LIST: 100}, limits=limits) as proxy:
            changed = await post(proxy.url, asked)
        async with proxy_before(server, {}, limits=limits) as proxy:
            whole = await post(proxy.url, asked)

    assert changed.status_code == 502
    assert len(whole.json()["result"]) == 10


async def test_no_page_of_a_browser_gets_through():
    async with node() as (_, server), proxy_before(server, {}) as proxy:
        rebound = await post(proxy.url, body_of("getSlot"), host="evil.example")
        simple = await post(proxy.url, body_of("getSlot"), **{"content-type": "text/plain"})
        with pytest.raises(InvalidStatus):
            await connect(proxy.ws_url, proxy=None, origin="https://evil.example")  # type: ignore[arg-type]

        async with httpx.AsyncClient(trust_env=False) as client:
            others = [await client.request(each, proxy.url) for each in ("HEAD", "OPTIONS", "GET")]

    assert (rebound.status_code, simple.status_code) == (421, 415)
    assert [each.status_code for each in others] == [405] * 3
    assert all("access-control-allow-origin" not in each.headers for each in (*others, simple))


@pytest.mark.parametrize("url", ["http://rpc.example/SECRET", "ftp://127.0.0.1", "nonsense", ""])
def test_a_node_that_cannot_be_called_is_refused_without_its_url(url):
    plan = Plan(profile=PROFILES["calm"], seed=1)

    with pytest.raises(SettingsError) as caught:
        ChaosProxy(url, "ws://127.0.0.1:1", plan, SystemClock())

    assert "SECRET" not in str(caught.value)


async def test_a_port_in_use_is_told():
    async with node() as (_, server):
        port = int(server.url.rpartition(":")[2])
        plan = Plan(profile=PROFILES["calm"], seed=1)
        proxy = ChaosProxy(server.url, server.ws_url, plan, SystemClock(), ports=(port, None))
        with pytest.raises(SettingsError, match="choose another port"):
            await proxy.__aenter__()
