"""The client against the embedded chain: real transactions over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.chain.answers import Commitment
from liqctl.chain.client import Chain
from liqctl.chain.expiry import prove_expiry
from liqctl.chain.notice import AccountNotice, SlotNotice, StreamItem, StreamUp
from liqctl.chain.rpc import HttpRpc
from liqctl.chain.send_answer import SendKind, classify_send_error
from liqctl.chain.stream import Subscriptions
from liqctl.chain.transaction import BUDGET_INSTRUCTIONS, compile_message, placeholder_signed, sign
from liqctl.chain.urls import websocket_url
from liqctl.chain.wallet import KeySigner
from liqctl.core.instruction import AccountMeta, Instruction
from liqctl.core.intent import Attempt, AttemptState
from liqctl.errors import RpcRefused
from liqctl.localnet.account import AccountState
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.localnet.world import World, WorldConfig
from liqctl.ports import SystemClock
from tests.chain.scripted import ADDRESSES, PROGRAM, EvenRng

PAYER = Keypair.from_seed(bytes([1] * 32))
SIGNER = KeySigner(PAYER)
RECEIVER = ADDRESSES[0]
SYSTEM = "1" * 32
SOL = 10**9
DATA = b"\x01\x02\x03\x04\x05\x06\x07\x08rest"


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[World, Chain, str]]:
    """Serve a world of PAYER, RECEIVER and one program account; yields it with client and URL."""
    world = World(WorldConfig(start_unix_s=1_750_000_000))
    world.set_account(PAYER.pubkey(), AccountState(lamports=100 * SOL))
    world.set_account(Pubkey.from_string(RECEIVER), AccountState(lamports=SOL))
    owner = Pubkey.from_string(PROGRAM)
    world.set_account(
        Pubkey.from_string(ADDRESSES[1]), AccountState(lamports=SOL, data=DATA, owner=owner)
    )
    for _ in range(40):
        world.tick()
    clock = SystemClock()
    async with (
        LocalnetServer(world, clock, ServerConfig(port=0, ticking=False)) as server,
        HttpRpc(server.url, clock, EvenRng()) as rpc,
    ):
        yield world, Chain(rpc), server.url


def transfer(lamports: int) -> Instruction:
    return Instruction(
        program=SYSTEM,
        accounts=(
            AccountMeta(SIGNER.address, signer=True, writable=True),
            AccountMeta(RECEIVER, writable=True),
        ),
        data=b"\x02\0\0\0" + lamports.to_bytes(8, "little"),
    )


async def attempt_of(node: Chain, lamports: int) -> Attempt:
    found = await node.latest_blockhash()
    message = compile_message(SIGNER.address, [transfer(lamports)], found.hash, 10_000, 1_000_000)
    raw, signature = await sign(message, SIGNER)
    return Attempt(
        signature=signature,
        intent_id=1,
        n=1,
        position=RECEIVER,
        symbol="SOL-PERP",
        raw=raw,
        blockhash=found.hash,
        last_valid_block_height=found.last_valid_block_height,
        min_context_slot=found.context_slot,
        compute_unit_limit=10_000,
        compute_unit_price_micro_lamports=1_000_000,
        max_cost_lamports=15_000,
        state=AttemptState.SENT,
    )


async def test_the_state_of_the_cluster_is_read():
    async with cluster() as (_, node, _):
        found = await node.accounts([SIGNER.address, ADDRESSES[2]])
        snapshot = await node.program_accounts(PROGRAM, DATA[:8])
        nothing = await node.program_accounts(PROGRAM, b"\x09")

        payer = found.by_address[SIGNER.address]
        assert payer is not None
        assert (payer.lamports, payer.owner) == (100 * SOL, SYSTEM)
        assert found.by_address[ADDRESSES[2]] is None
        assert [(each.address, each.data) for each in snapshot.accounts] == [(ADDRESSES[1], DATA)]
        assert nothing.accounts == ()
        assert snapshot.refused == ()
        assert await node.balance(SIGNER.address) == 100 * SOL
        assert await node.slot(Commitment.PROCESSED) >= await node.slot(Commitment.FINALIZED) > 0
        await node.genesis_hash()
        await node.recent_priority_fees()
        await node.health()


async def test_a_transaction_is_simulated_sent_seen_and_told():
    async with cluster() as (world, node, _):
        attempt = await attempt_of(node, 5)
        unsigned = placeholder_signed(attempt.raw[65:])
        trial = await node.simulate(unsigned, accounts=[RECEIVER], min_context_slot=1)
        before = await node.statuses([attempt.signature])
        await node.send(attempt.raw, first=True, min_context_slot=attempt.min_context_slot)
        for _ in range(40):
            world.tick()
        after = await node.statuses([attempt.signature])
        landed = await node.transaction(attempt.signature)
        history = await node.signatures_for_address(RECEIVER)

        receiver = trial.accounts[RECEIVER]
        assert trial.failure is None
        assert receiver is not None
        assert receiver.lamports == SOL + 5
        assert before.statuses == (None,)
        assert after.statuses[0] is not None
        assert after.statuses[0].level is Commitment.FINALIZED
        assert landed is not None
        assert landed.fee_lamports == attempt.max_cost_lamports
        assert attempt.signature in [entry.signature for entry in history]
        assert await node.balance(RECEIVER) == SOL + 5


async def test_a_failing_instruction_is_counted_after_the_compute_budget():
    async with cluster() as (_, node, _):
        attempt = await attempt_of(node, 1000 * SOL)

        trial = await node.simulate(placeholder_signed(attempt.raw[65:]))
        with pytest.raises(RpcRefused) as caught:
            await node.send(attempt.raw, first=True, min_context_slot=attempt.min_context_slot)

        answer = classify_send_error(caught.value)
        assert trial.failure is not None
        assert (trial.failure.instruction, trial.failure.code) == (BUDGET_INSTRUCTIONS, 1)
        assert answer.kind is SendKind.HOPELESS
        assert answer.failure is not None
        assert answer.failure.logs != ()


async def test_the_same_bytes_a_second_time_are_seen_already():
    async with cluster() as (world, node, _):
        attempt = await attempt_of(node, 5)
        slot = attempt.min_context_slot
        await node.send(attempt.raw, first=True, min_context_slot=slot)
        for _ in range(3):
            world.tick()

        await node.send(attempt.raw, first=False, min_context_slot=slot)
        with pytest.raises(RpcRefused) as caught:
            await node.send(attempt.raw, first=True, min_context_slot=slot)

        assert classify_send_error(caught.value).kind is SendKind.SEEN_ALREADY


async def test_an_attempt_that_never_left_is_proven_expired_only_when_it_is():
    async with cluster() as (world, node, _):
        attempt = await attempt_of(node, 5)
        early = await prove_expiry(node, attempt)
        for _ in range(150):
            world.tick()
        too_early = await prove_expiry(node, attempt)
        for _ in range(60):
            world.tick()

        assert early is None
        assert too_early is None
        proof = await prove_expiry(node, attempt)
        assert proof is not None
        assert proof.block_height > attempt.last_valid_block_height
        with pytest.raises(RpcRefused) as caught:
            await node.send(attempt.raw, first=True, min_context_slot=attempt.min_context_slot)
        assert classify_send_error(caught.value).kind is SendKind.UNKNOWN_BLOCKHASH


async def test_an_attempt_that_landed_is_never_proven_expired():
    async with cluster() as (world, node, _):
        attempt = await attempt_of(node, 5)
        await node.send(attempt.raw, first=False, min_context_slot=attempt.min_context_slot)
        for _ in range(250):
            world.tick()

        assert await prove_expiry(node, attempt) is None
        assert await prove_expiry(node, replace(attempt, state=AttemptState.SIGNED)) is None


async def test_a_change_is_told_over_the_websocket():
    async with cluster() as (world, node, url):
        stream = Subscriptions(websocket_url(url), SystemClock(), EvenRng())
        stream.watch_account(RECEIVER)
        stream.watch_program(PROGRAM, DATA[:8])
        items: asyncio.Queue[StreamItem] = asyncio.Queue()
        task = asyncio.create_task(stream.run(items.put_nowait))
        async with asyncio.timeout(5):
            assert await items.get() == StreamUp()
            attempt = await attempt_of(node, 5)
            await node.send(attempt.raw, first=True, min_context_slot=attempt.min_context_slot)
            world.set_account(
                Pubkey.from_string(ADDRESSES[1]),
                AccountState(lamports=SOL, data=DATA + b"!", owner=Pubkey.from_string(PROGRAM)),
            )
            for _ in range(3):
                world.tick()
            found: list[StreamItem] = []
            while sum(isinstance(item, AccountNotice) for item in found) < 2:
                found.append(await items.get())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    notices = {item.address: item for item in found if isinstance(item, AccountNotice)}
    receiver, changed = notices[RECEIVER].account, notices[ADDRESSES[1]].account
    assert receiver is not None
    assert receiver.lamports == SOL + 5
    assert changed is not None
    assert changed.data == DATA + b"!"
    assert any(isinstance(item, SlotNotice) for item in found)
    assert stream.counts.malformed == 0
