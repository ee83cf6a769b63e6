"""Small simulated clusters, nodes and transactions for the tests of the simulator."""

import base64
import json
from typing import Any

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from liqctl.sim.cluster import Cluster, ClusterConfig
from liqctl.sim.node import Node, NodeConfig
from liqctl.sim.planted import keeper_key, planted
from liqctl.sim.serving import Reply
from liqctl.sim.swarm import rng_for
from liqctl.sim.tree import ForkBlock

PAYER = keeper_key(0)
RECEIVER = Pubkey(bytes([2] * 32))


def new_cluster(seed: int = 1, positions: int = 4, **changes: Any) -> Cluster:
    """Return a cluster without faults, except for those that are asked for."""
    config = ClusterConfig(**{"window_blocks": 20, "landing_blocks_max": 1, **changes})
    genesis = planted().selection(rng_for(seed, "genesis"), positions)
    return Cluster(rng_for(seed, "cluster"), genesis, config)


def new_node(cluster: Cluster, **changes: Any) -> Node:
    """Return a node without faults, except for those that are asked for."""
    return Node(cluster, "node", rng_for(1, "node"), NodeConfig(**changes))


def run(cluster: Cluster, slots: int) -> None:
    """Let some slots pass."""
    for _ in range(slots):
        cluster.step(cluster.now_ms + 400)


def transfer_of(
    lamports: int, block: ForkBlock, *, payer: Keypair = PAYER, price_micro_lamports: int = 0
) -> VersionedTransaction:
    """Return a signed transfer with the hash of a block."""
    calls = [
        set_compute_unit_limit(10_000),
        set_compute_unit_price(price_micro_lamports),
        transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=RECEIVER, lamports=lamports)),
    ]
    message = MessageV0.try_compile(payer.pubkey(), calls, [], block.blockhash)
    return VersionedTransaction(message, [payer])


def in_base64(transaction: VersionedTransaction) -> str:
    """Return a transaction as a request carries it."""
    return base64.b64encode(bytes(transaction)).decode()


def request(node: Node, method: str, *params: object) -> Reply:
    """Return what becomes of one request."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return node.handle(json.dumps(body).encode(), "POST")


def answer(node: Node, method: str, *params: object) -> Any:
    """Return the decoded answer to one request."""
    return json.loads(request(node, method, *params).body)


def ask(node: Node, method: str, *params: object) -> Any:
    """Return the result of one request; an error object fails the test."""
    reply = answer(node, method, *params)
    assert "error" not in reply, reply["error"]
    return reply["result"]


def refusal(node: Node, method: str, *params: object) -> Any:
    """Return the error object of one request; a result fails the test."""
    reply = answer(node, method, *params)
    assert "result" not in reply, reply
    return reply["error"]
