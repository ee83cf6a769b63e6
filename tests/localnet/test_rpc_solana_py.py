"""The chain as solana-py sees it: real sockets, somebody else's client."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import DataSliceOpts, MemcmpOpts, TxOpts
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions
from solders.rpc.responses import SubscriptionResult
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction
from solders.transaction_status import TransactionConfirmationStatus

from liqctl.localnet.account import AccountState
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.localnet.spl_token import TOKEN_PROGRAM
from liqctl.localnet.world import World
from liqctl.ports import SystemClock
from tests.localnet.chain_world import PAYER, PROGRAM, RECEIVER, SOL, new_world, transfer_of


@pytest.fixture
def world() -> World:
    return new_world(slot_ms=20)


@pytest.fixture
async def server(world: World) -> AsyncIterator[LocalnetServer]:
    async with LocalnetServer(world, SystemClock(), ServerConfig(port=0)) as server:
        yield server


@pytest.fixture
async def client(server: LocalnetServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, commitment=Confirmed) as client:
        yield client


@pytest.fixture
async def socket(server: LocalnetServer) -> AsyncIterator[Any]:
    with warnings.catch_warnings():
        # solana-py uses the old part of websockets, which warns when it is imported.
        warnings.simplefilter("ignore", DeprecationWarning)
        from solana.rpc.websocket_api import connect
    async with connect(server.ws_url) as socket:
        yield socket


async def test_an_airdrop_arrives_and_can_be_confirmed(client: AsyncClient) -> None:
    stranger = Keypair.from_seed(bytes([7] * 32)).pubkey()

    first = (await client.request_airdrop(stranger, SOL)).value
    second = (await client.request_airdrop(stranger, SOL)).value
    await client.confirm_transaction(second, Finalized, sleep_seconds=0.02)

    assert first != second
    assert (await client.get_balance(stranger, Finalized)).value == 2 * SOL


async def test_a_transfer_is_sent_confirmed_and_found_again(client: AsyncClient) -> None:
    latest = (await client.get_latest_blockhash()).value
    sent = transfer_of(SOL, latest.blockhash)
    fee = (await client.get_fee_for_message(sent.message)).value

    signature = (
        await client.send_transaction(sent, opts=TxOpts(preflight_commitment=Confirmed))
    ).value
    answer = await client.confirm_transaction(
        signature, Finalized, 0.02, latest.last_valid_block_height
    )

    status = answer.value[0]
    assert status is not None
    assert status.confirmation_status == TransactionConfirmationStatus.Finalized
    assert status.err is None
    assert fee == 5_000
    assert (await client.get_balance(PAYER.pubkey(), Finalized)).value == 99 * SOL - 5_000
    assert (await client.get_balance(RECEIVER, Finalized)).value == SOL
    rows = (await client.get_signatures_for_address(RECEIVER, limit=5)).value
    assert [row.signature for row in rows] == [signature]


async def test_a_transaction_is_returned_whole_in_every_encoding(
    client: AsyncClient, world: World
) -> None:
    instruction = transfer(
        TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=RECEIVER, lamports=SOL)
    )
    message = Message.new_with_blockhash([instruction], PAYER.pubkey(), world.latest_blockhash())
    legacy = Transaction([PAYER], message, world.latest_blockhash())
    signature = (
        await client.send_raw_transaction(bytes(legacy), TxOpts(preflight_commitment=Processed))
    ).value
    await client.confirm_transaction(signature, sleep_seconds=0.02)

    for encoding in ("json", "jsonParsed", "base64", "base58"):
        found = (await client.get_transaction(signature, encoding, max_supported_transaction_version=0)).value  # fmt: skip
        assert found is not None
        meta = found.transaction.meta
        assert meta is not None
        assert meta.fee == 5_000
        assert meta.pre_balances[:2] == [100 * SOL, 0]
        assert meta.post_balances[:2] == [99 * SOL - 5_000, SOL]
        assert meta.log_messages is not None
        assert meta.log_messages[-1] == "Program 11111111111111111111111111111111 success"


async def test_accounts_are_read_one_by_one_and_together(client: AsyncClient, world: World) -> None:
    world.set_account(RECEIVER, AccountState(lamports=7, data=bytes(range(200)), owner=PROGRAM))
    nobody = Pubkey(bytes([77] * 32))

    one = (await client.get_account_info(RECEIVER, Processed)).value
    cut = (
        await client.get_account_info(
            RECEIVER, Processed, encoding="base64", data_slice=DataSliceOpts(offset=10, length=4)
        )
    ).value
    both = (await client.get_multiple_accounts([RECEIVER, nobody], Processed)).value

    assert one is not None
    assert (one.lamports, one.owner, one.data) == (7, PROGRAM, bytes(range(200)))
    assert cut is not None
    assert cut.data == bytes([10, 11, 12, 13])
    assert both == [one, None]
    assert (await client.get_account_info(nobody)).value is None


async def test_program_accounts_pass_all_filters(client: AsyncClient, world: World) -> None:
    for number in range(10):
        content = bytes([number % 2, number]) + bytes(number // 5)
        key = Pubkey(bytes([100 + number] * 32))
        world.set_account(key, AccountState(lamports=1, data=content, owner=PROGRAM))

    everything = (await client.get_program_accounts(PROGRAM, Processed, "base64")).value
    odd_and_long = (
        await client.get_program_accounts(
            PROGRAM, Processed, "base64", filters=[3, MemcmpOpts(offset=0, bytes="2")]
        )
    ).value

    assert len(everything) == 10
    assert sorted(one.account.data[1] for one in odd_and_long) == [5, 7, 9]


async def test_a_token_balance_is_shown_in_raw_units_and_decimals(
    client: AsyncClient, world: World
) -> None:
    mint, holder = Pubkey(bytes([50] * 32)), Pubkey(bytes([51] * 32))
    mint_bytes = bytearray(82)
    mint_bytes[44:46] = (6, 1)
    holding = bytes(mint) + bytes(PROGRAM) + (1_250_000).to_bytes(8, "little")
    holding += bytes(36) + b"\x01" + bytes(165 - 109)
    world.set_account(mint, AccountState(lamports=1, data=bytes(mint_bytes), owner=TOKEN_PROGRAM))
    world.set_account(holder, AccountState(lamports=1, data=holding, owner=TOKEN_PROGRAM))

    shown = (await client.get_token_account_balance(holder, Processed)).value

    assert (shown.amount, shown.decimals, shown.ui_amount_string) == ("1250000", 6, "1.25")


async def test_a_simulation_changes_nothing_and_shows_logs(client: AsyncClient) -> None:
    blockhash = (await client.get_latest_blockhash()).value.blockhash
    good, bad = transfer_of(SOL, blockhash), transfer_of(200 * SOL, blockhash)

    passed = (await client.simulate_transaction(good, sig_verify=True)).value
    failed = (await client.simulate_transaction(bad)).value

    assert passed.err is None
    assert passed.units_consumed == 150
    assert passed.logs == [
        "Program 11111111111111111111111111111111 invoke [1]",
        "Program 11111111111111111111111111111111 success",
    ]
    assert failed.err is not None
    assert (await client.get_balance(RECEIVER, Processed)).value == 0


async def test_a_failing_preflight_raises_with_the_simulation(client: AsyncClient) -> None:
    blockhash = (await client.get_latest_blockhash()).value.blockhash

    with pytest.raises(RPCException) as caught:
        await client.send_transaction(
            transfer_of(200 * SOL, blockhash), opts=TxOpts(preflight_commitment=Confirmed)
        )

    error = caught.value.args[0]
    assert "custom program error: 0x1" in error.message
    assert error.data.units_consumed == 150


async def test_the_cluster_describes_itself(client: AsyncClient, world: World) -> None:
    epoch = (await client.get_epoch_info(Confirmed)).value
    slot = (await client.get_slot(Confirmed)).value

    assert epoch.absolute_slot <= slot <= world.slot
    assert (await client.get_block_height(Confirmed)).value >= epoch.block_height
    assert (await client.get_genesis_hash()).value == world.genesis_hash
    assert (await client.get_version()).value.solana_core == "2.2.0"
    assert (await client.get_minimum_balance_for_rent_exemption(165)).value == 2_039_280
    assert (await client.get_first_available_block()).value == 1
    assert (await client.get_block_time(1)).value == 1_750_000_000
    assert await client.is_connected()


async def test_account_and_program_subscriptions_follow_writes(socket: Any, world: World) -> None:
    await socket.account_subscribe(RECEIVER, Processed, "base64")
    await socket.program_subscribe(PROGRAM, Confirmed, "base64", filters=[3])
    account, program = await _subscribed(socket, 2)

    world.set_account(RECEIVER, AccountState(lamports=1, data=b"long", owner=PROGRAM))
    world.set_account(RECEIVER, AccountState(lamports=2, data=b"abc", owner=PROGRAM))

    first, second, third = await _notified(socket, 3)
    assert [first.subscription, second.subscription] == [account, account]
    assert [first.result.value.data, second.result.value.data] == [b"long", b"abc"]
    assert third.subscription == program
    assert (third.result.value.pubkey, third.result.value.account.lamports) == (RECEIVER, 2)


async def test_logs_and_signature_subscriptions_report_a_landed_transaction(
    socket: Any, world: World
) -> None:
    sent = transfer_of(SOL, world.latest_blockhash())
    await socket.logs_subscribe(RpcTransactionLogsFilterMentions(RECEIVER), Processed)
    await socket.logs_subscribe(RpcTransactionLogsFilterMentions(PROGRAM), Processed)
    await socket.signature_subscribe(sent.signatures[0], Confirmed)
    logs, _, signature = await _subscribed(socket, 3)

    world.submit(sent)

    first, second = await _notified(socket, 2)
    assert first.subscription == logs
    assert first.result.value.signature == sent.signatures[0]
    assert first.result.value.logs[0].endswith("invoke [1]")
    assert second.subscription == signature
    assert second.result.value.err is None


async def test_slots_and_roots_are_reported_until_unsubscribed(socket: Any) -> None:
    await socket.slot_subscribe()
    (slots,) = await _subscribed(socket, 1)
    first, second = await _notified(socket, 2)
    await socket.slot_unsubscribe(slots)
    await socket.root_subscribe()

    roots = [one for one in await _notified(socket, 6) if not hasattr(one.result, "parent")]

    assert second.result.slot == first.result.slot + 1 == second.result.parent + 1
    assert second.result.root == second.result.slot - 3
    assert len(roots) >= 2
    assert roots[-1].result == roots[-2].result + 1


async def test_a_signature_known_before_is_reported_at_once(socket: Any, world: World) -> None:
    sent = transfer_of(SOL, world.latest_blockhash())
    world.submit(sent)

    await socket.signature_subscribe(sent.signatures[0], Processed)

    await _subscribed(socket, 1)
    (reported,) = await _notified(socket, 1)
    assert reported.result.value.err is None


async def test_an_unknown_signature_has_no_status(client: AsyncClient) -> None:
    answer = await client.get_signature_statuses([Signature.default()], True)

    assert answer.value == [None]


async def _subscribed(socket: Any, count: int) -> list[int]:
    identities: list[int] = []
    while len(identities) < count:
        messages = await asyncio.wait_for(socket.recv(), 5)
        identities += [one.result for one in messages if isinstance(one, SubscriptionResult)]
    return identities


async def _notified(socket: Any, count: int) -> list[Any]:
    notifications: list[Any] = []
    while len(notifications) < count:
        messages = await asyncio.wait_for(socket.recv(), 5)
        notifications += [one for one in messages if hasattr(one, "subscription")]
    return notifications[:count]
