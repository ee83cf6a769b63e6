"""What one endpoint knows, says and does wrong: the facts about RPC nodes, one by one."""

import json
from typing import Any

import pytest
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.localnet.genesis import PROGRAM_ID
from liqctl.sim.cluster import Cluster
from liqctl.sim.node import Node
from liqctl.sim.serving import Fate
from tests.sim.small_cluster import (
    PAYER,
    RECEIVER,
    ask,
    in_base64,
    new_cluster,
    new_node,
    refusal,
    request,
    run,
    transfer_of,
)

FINALIZED = {"commitment": "finalized"}
SEARCH = {"searchTransactionHistory": True}
SKIP = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
CONFIRMED = {"encoding": "base64", "preflightCommitment": "confirmed", "maxRetries": 0}


def landed(cluster: Cluster, lamports: int = 10_000_000) -> VersionedTransaction:
    """Return a transaction that is in the tip."""
    transaction = transfer_of(lamports, cluster.tip)
    cluster.submit(transaction)
    run(cluster, 1)
    assert cluster.tree.find(transaction.signatures[0], cluster.tip) is not None
    return transaction


def status(node: Node, transaction: VersionedTransaction, *options: object) -> tuple[int, Any]:
    """Return the context slot and the status of a transaction."""
    result = ask(node, "getSignatureStatuses", [str(transaction.signatures[0])], *options)
    return result["context"]["slot"], result["value"][0]


def stray(cluster: Cluster, **changes: Any) -> Node:
    """Return a node that has just left for a fork of its own, for as long as the test lasts."""
    node = new_node(cluster, minority=1.0, **changes)
    node._rng.random = lambda: 0.999_999 if node._stray is None else 0.5  # type: ignore[method-assign]
    node.config.minority = 1.1
    ask(node, "getSlot")
    node.config.minority = 0.0
    assert node._stray is not None
    return node


def test_a_status_moves_from_processed_to_finalized():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 2)
    transaction = landed(cluster)
    slot, found = status(node, transaction)
    assert (slot, found["confirmationStatus"], found["confirmations"]) == (
        cluster.tip.slot, "processed", 0,
    )  # fmt: skip

    run(cluster, 1)
    assert status(node, transaction)[1]["confirmationStatus"] == "confirmed"
    run(cluster, 30)
    assert status(node, transaction)[1]["confirmations"] == 31
    run(cluster, 1)
    found = status(node, transaction)[1]

    assert (found["confirmationStatus"], found["confirmations"]) == ("finalized", None)
    assert found["status"] == {"Ok": None}


def test_slot_and_height_of_the_epoch_are_of_one_block():
    cluster = new_cluster(skipped=0.3)
    node = new_node(cluster)
    run(cluster, 60)

    found = ask(node, "getEpochInfo", FINALIZED)

    assert found["absoluteSlot"] == cluster.root.slot
    assert found["blockHeight"] == cluster.root.height
    assert found["absoluteSlot"] > found["blockHeight"]


def test_the_status_on_a_minority_fork_has_a_higher_slot_and_no_transaction():
    cluster = new_cluster()
    run(cluster, 40)
    node = stray(cluster)
    transaction = landed(cluster)
    run(cluster, 40)

    slot, found = status(node, transaction, SEARCH)

    assert found is None
    assert slot >= cluster.confirmed.slot
    assert status(new_node(cluster), transaction)[1]["confirmationStatus"] == "finalized"


def test_without_its_bank_a_node_answers_finalized_from_its_own_root():
    cluster = new_cluster()
    run(cluster, 40)
    node = stray(cluster, own_root=1.0)
    transaction = landed(cluster)
    run(cluster, 100)

    found = ask(node, "getEpochInfo", FINALIZED)
    least = {**FINALIZED, "minContextSlot": found["absoluteSlot"]}
    error = refusal(node, "getSignaturesForAddress", str(RECEIVER), least)

    # Slot and height say that the blockhash is long gone; only the last question gives it away.
    assert found["blockHeight"] > cluster.tree.genesis.height + 41 + 20
    assert status(node, transaction, SEARCH)[1] is None
    assert error["code"] == -32016
    assert error["data"] == {"contextSlot": node._standing.root.slot}


def test_a_node_on_its_own_fork_reports_what_only_that_fork_has():
    cluster = new_cluster()
    run(cluster, 10)
    node = stray(cluster)
    blockhash = ask(node, "getLatestBlockhash", {"commitment": "confirmed"})
    assert blockhash["value"]["blockhash"] == str(node._standing.confirmed.blockhash)
    transaction = transfer_of(10_000_000, node._standing.confirmed.back(8))

    assert ask(node, "sendTransaction", in_base64(transaction), SKIP)
    run(cluster, 3)

    assert status(node, transaction)[1]["confirmationStatus"] == "processed"
    assert cluster.faults["landed_aside"] == 1
    assert ask(node, "getTransaction", str(transaction.signatures[0]), FINALIZED) is None


def test_a_lost_status_cache_leaves_the_disk_which_ends_at_the_root():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 2)
    old = landed(cluster)
    run(cluster, 35)
    new = landed(cluster, 20_000_000)
    run(cluster, 3)
    node.config.amnesia = 1.0

    assert status(node, old)[1] is None
    assert status(node, old, SEARCH)[1]["confirmationStatus"] == "finalized"
    assert status(node, new, SEARCH)[1] is None


def test_the_status_cache_holds_300_blocks():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 1)
    transaction = landed(cluster)
    run(cluster, 300)
    assert status(node, transaction)[1] is not None

    run(cluster, 1)

    assert status(node, transaction)[1] is None
    assert status(node, transaction, SEARCH)[1] is not None


def test_a_node_without_history_refuses_only_who_asks_for_it():
    cluster = new_cluster()
    node = new_node(cluster, no_history=True)
    run(cluster, 2)
    transaction = landed(cluster)
    signature = str(transaction.signatures[0])

    assert status(node, transaction)[1] is not None
    for method, params in (
        ("getSignatureStatuses", ([signature], SEARCH)),
        ("getSignaturesForAddress", (str(RECEIVER), FINALIZED)),
        ("getTransaction", (signature, FINALIZED)),
    ):
        assert refusal(node, method, *params)["code"] == -32011


def test_a_pruned_node_forgets_and_says_where_its_history_begins():
    cluster = new_cluster()
    node = new_node(cluster, history_blocks=10)
    run(cluster, 2)
    transaction = landed(cluster)
    slot = cluster.tip.slot
    run(cluster, 45)

    node.config.amnesia = 1.0

    assert ask(node, "getFirstAvailableBlock") == cluster.root.slot - 10 > slot
    assert status(node, transaction, SEARCH)[1] is None
    assert ask(node, "getSignaturesForAddress", str(RECEIVER), FINALIZED) == []
    assert ask(node, "getTransaction", str(transaction.signatures[0]), FINALIZED) is None
    assert ask(new_node(cluster), "getFirstAvailableBlock") == cluster.tree.genesis.slot


def test_the_address_index_may_end_below_the_root():
    cluster = new_cluster()
    node = new_node(cluster, index_lag_blocks=5)
    run(cluster, 2)
    transaction = landed(cluster)
    run(cluster, 33)
    least = {**FINALIZED, "minContextSlot": cluster.root.slot}

    assert status(node, transaction)[1]["confirmationStatus"] == "finalized"
    assert ask(node, "getSignaturesForAddress", str(RECEIVER), least) == []
    run(cluster, 5)
    assert len(ask(node, "getSignaturesForAddress", str(RECEIVER), FINALIZED)) == 1


def test_a_lagging_node_lives_in_its_own_past():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 2)
    run(cluster, 1)
    before = cluster.tip.slot
    node._lag = 200
    transaction = landed(cluster)
    run(cluster, 150)

    assert ask(node, "getSlot", {"commitment": "processed"}) == before
    assert ask(node, "getBalance", str(RECEIVER), {"commitment": "processed"})["value"] == 0
    assert status(node, transaction, SEARCH)[1] is None
    error = refusal(node, "getEpochInfo", {**FINALIZED, "minContextSlot": cluster.root.slot})
    assert error["code"] == -32016
    health = refusal(node, "getHealth")
    assert health["code"] == -32005
    assert health["data"]["numSlotsBehind"] == 151
    node.calm()
    run(cluster, 1)
    assert ask(node, "getBalance", str(RECEIVER), {"commitment": "processed"})["value"] > 0


def test_a_changing_lag_never_takes_a_node_back_in_time():
    cluster = new_cluster()
    node = new_node(cluster, lag_blocks=(0, 2, 10, 40))
    slots: list[int] = []

    for _ in range(400):
        run(cluster, 1)
        slots.append(ask(node, "getSlot", {"commitment": "processed"}))

    assert slots == sorted(slots)
    assert max(cluster.genesis.slot + 1 + n - slot for n, slot in enumerate(slots)) == 40


def test_preflight_refuses_six_blocks_early_and_age_comes_before_repetition():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 2)
    transaction = landed(cluster)
    text = in_base64(transaction)
    run(cluster, 14)

    error = refusal(node, "sendTransaction", text, CONFIRMED)
    assert (error["code"], error["data"]["err"]) == (-32002, "AlreadyProcessed")
    assert ask(node, "sendTransaction", text, SKIP) == str(transaction.signatures[0])
    run(cluster, 1)
    error = refusal(node, "sendTransaction", text, CONFIRMED)

    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    origin = str(transaction.message.recent_blockhash)
    valid = ask(node, "isBlockhashValid", origin, {"commitment": "confirmed"})
    assert valid["value"] is True


def test_a_fresh_confirmed_hash_fails_a_preflight_at_the_default_commitment():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 40)
    blockhash = ask(node, "getLatestBlockhash", {"commitment": "confirmed"})
    assert blockhash["value"]["lastValidBlockHeight"] == cluster.confirmed.height + 20
    text = in_base64(transfer_of(10_000_000, cluster.confirmed))

    error = refusal(node, "sendTransaction", text, {"encoding": "base64"})

    assert error["data"]["err"] == "BlockhashNotFound"
    assert ask(node, "sendTransaction", text, CONFIRMED)


def test_a_simulation_runs_on_the_bank_that_was_asked_for():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 2)
    landed(cluster)
    text = in_base64(transfer_of(20_000_000, cluster.tip))
    options = {
        "encoding": "base64",
        "replaceRecentBlockhash": True,
        "accounts": {"encoding": "base64", "addresses": [str(RECEIVER)]},
    }

    processed = ask(node, "simulateTransaction", text, {**options, "commitment": "processed"})
    finalized = ask(node, "simulateTransaction", text, {**options, **FINALIZED})

    assert processed["context"]["slot"] == cluster.tip.slot
    assert processed["value"]["accounts"][0]["lamports"] == 30_000_000
    assert finalized["context"]["slot"] == cluster.root.slot
    assert finalized["value"]["accounts"][0]["lamports"] == 20_000_000


def test_too_many_requests_may_say_when_to_come_back():
    node = new_node(new_cluster(), refused_429=1.0)

    replies = [request(node, "getSlot") for _ in range(50)]

    assert {reply.status for reply in replies} == {429}
    named = [dict(reply.headers).get("retry-after") for reply in replies]
    assert None in named
    assert {"1", "2", "3"} <= set(named)


@pytest.mark.parametrize("kind", ["reset", "answer_lost"])
def test_a_broken_connection_comes_before_the_effect_or_after_it(kind):
    cluster = new_cluster()
    node = new_node(cluster, **{kind: 1.0})
    run(cluster, 2)
    transaction = transfer_of(10_000_000, cluster.tip)

    reply = request(node, "sendTransaction", in_base64(transaction), SKIP)
    run(cluster, 2)

    signature = transaction.signatures[0]
    assert reply.fate is Fate.DROPPED
    assert bool(cluster.tree.landings(signature)) is (kind == "answer_lost")
    assert cluster.faults[kind] == 1


def test_an_outage_lasts():
    cluster = new_cluster()
    node = new_node(cluster, outage=1.0, outage_s_max=60.0)
    kinds = set()
    for _ in range(20):
        node._outage = ("", 0)
        node.config.outage = 1.0
        first = request(node, "getSlot")
        kinds.add((first.fate, first.status))
        node.config.outage = 0.0
        assert request(node, "getSlot") == first

    run(cluster, 200)

    assert kinds == {(Fate.DROPPED, 200), (Fate.SILENT, 200), (Fate.ANSWERED, 503)}
    assert request(node, "getSlot").status == 200
    assert request(node, "getSlot").body


def test_lies_are_told_at_their_own_rate_only():
    cluster = new_cluster()
    run(cluster, 62)
    transaction = landed(cluster)
    honest, liar = new_node(cluster), new_node(cluster, lie=1.0)
    signature = str(transaction.signatures[0])
    asked: list[tuple[str, tuple[object, ...]]] = [
        ("sendTransaction", (in_base64(transaction), SKIP)),
        ("getSignatureStatuses", ([signature],)),
        ("getMultipleAccounts", ([str(RECEIVER), str(PAYER.pubkey())],)),
        ("getLatestBlockhash", ({"commitment": "confirmed"},)),
        ("getProgramAccounts", (PROGRAM_ID, {"encoding": "base64"})),
        ("getRecentPrioritizationFees", ([],)),
    ]

    for method, params in asked * 8:
        truth = ask(honest, method, *params)
        assert ask(liar, method, *params) != truth
        assert ask(honest, method, *params) == truth

    assert set(cluster.faults) >= {
        "lie_wrong_signature", "lie_short_array", "lie_context_backwards", "lie_absurd_fees", "lie_null_status",
        "lie_small_height", "lie_truncated_list",
    }  # fmt: skip


def test_a_calmed_node_is_healthy_at_the_next_slot():
    cluster = new_cluster()
    run(cluster, 40)
    node = stray(cluster, own_root=1.0, no_history=True, lie=0.5, reset=0.0)
    run(cluster, 60)

    node.calm()
    run(cluster, 1)

    found = ask(node, "getEpochInfo", FINALIZED)
    assert found["absoluteSlot"] == cluster.root.slot
    assert ask(node, "getSignaturesForAddress", str(RECEIVER), FINALIZED) == []
    assert ask(node, "getSlot", {"commitment": "processed"}) == cluster.tip.slot


def test_subscribers_hear_of_their_node_s_fork_only():
    cluster = new_cluster()
    run(cluster, 5)
    follower, hermit = new_node(cluster), stray(cluster)
    heard: dict[str, list[Any]] = {"follower": [], "hermit": []}
    for name, node in (("follower", follower), ("hermit", hermit)):
        session = node.open_session(lambda raw, name=name: heard[name].append(json.loads(raw)))  # type: ignore[misc]
        body = {"jsonrpc": "2.0", "id": 1, "method": "accountSubscribe"}
        options = {"encoding": "base64", "commitment": "confirmed"}
        session.receive(json.dumps({**body, "params": [str(RECEIVER), options]}))

    landed(cluster)
    run(cluster, 2)

    assert len(heard["hermit"]) == 1
    update = heard["follower"][1]["params"]["result"]
    assert update["value"]["lamports"] == 10_000_000
    assert update["context"]["slot"] == cluster.tip.back(2).slot


def test_notifications_may_be_garbled_repeated_swapped_and_lost():
    cluster = new_cluster()
    node = new_node(cluster, push=0.5)
    raw: list[bytes] = []
    session = node.open_session(raw.append)
    session.receive('{"jsonrpc":"2.0","id":1,"method":"slotSubscribe"}')

    run(cluster, 300)
    slots: list[int] = []
    garbage = 0
    for message in raw[1:]:
        try:
            slots.append(json.loads(message)["params"]["result"]["slot"])
        except ValueError:
            garbage += 1

    assert garbage > 10
    assert len(set(slots)) < len(slots)
    assert slots != sorted(slots)
    assert len(set(slots)) < 290
    session.close()
    run(cluster, 1)
    assert node.view.listeners == []


def test_an_unknown_account_is_null_at_every_block():
    cluster = new_cluster()
    node = new_node(cluster)
    run(cluster, 3)

    found = ask(node, "getMultipleAccounts", [str(Pubkey(bytes([9] * 32)))], FINALIZED)

    assert found == {"context": {"apiVersion": "2.2.0", "slot": cluster.root.slot}, "value": [None]}
