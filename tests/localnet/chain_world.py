"""Small worlds and transactions for the tests of the embedded chain."""

import base64
from collections.abc import Mapping
from typing import Any, cast

from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.rpc.answer import answer
from liqctl.localnet.world import World, WorldConfig

PAYER = Keypair.from_seed(bytes([1] * 32))
RECEIVER = Pubkey(bytes([2] * 32))
PROGRAM = Pubkey(bytes([3] * 32))
SOL = 10**9


def new_world(**changes: Any) -> World:
    """Return a chain whose PAYER owns 100 SOL at every commitment."""
    world = World(WorldConfig(start_unix_s=1_750_000_000, **changes))
    world.set_account(PAYER.pubkey(), AccountState(lamports=100 * SOL))
    world.tick()
    return world


def transfer_of(
    lamports: int,
    blockhash: Hash,
    *,
    payer: Keypair = PAYER,
    receiver: Pubkey = RECEIVER,
) -> VersionedTransaction:
    """Return a signed transfer."""
    params = TransferParams(from_pubkey=payer.pubkey(), to_pubkey=receiver, lamports=lamports)
    message = MessageV0.try_compile(payer.pubkey(), [transfer(params)], [], blockhash)
    return VersionedTransaction(message, [payer])


def in_base64(transaction: VersionedTransaction) -> str:
    """Return a transaction as a request carries it."""
    return base64.b64encode(bytes(transaction)).decode()


def ask(world: World, method: str, *params: object) -> Any:
    """Return the result of one request; an error object fails the test."""
    reply = cast("Mapping[str, Any]", answer(world, request(method, *params)))
    assert "error" not in reply, reply["error"]
    return reply["result"]


def refusal(world: World, method: str, *params: object) -> Any:
    """Return the error object of one request; a result fails the test."""
    reply = cast("Mapping[str, Any]", answer(world, request(method, *params)))
    assert "result" not in reply, reply
    return reply["error"]


def request(method: str, *params: object) -> dict[str, object]:
    """Return one request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
