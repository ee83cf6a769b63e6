"""The JSON-RPC envelope: one request or a batch in, the answers out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

import msgspec

from liqctl.localnet.rpc import accounts, cluster, history, transactions
from liqctl.localnet.rpc.errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Refusal,
    invalid_params,
)
from liqctl.localnet.rpc.params import Params
from liqctl.localnet.rpc.view import View

Method = Callable[[View, Params], object]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "getAccountInfo": accounts.get_account_info,
        "getBalance": accounts.get_balance,
        "getBlockHeight": cluster.get_block_height,
        "getBlockTime": cluster.get_block_time,
        "getEpochInfo": cluster.get_epoch_info,
        "getFeeForMessage": cluster.get_fee_for_message,
        "getFirstAvailableBlock": cluster.get_first_available_block,
        "getGenesisHash": cluster.get_genesis_hash,
        "getHealth": cluster.get_health,
        "getLatestBlockhash": cluster.get_latest_blockhash,
        "getMinimumBalanceForRentExemption": accounts.get_minimum_balance,
        "getMultipleAccounts": accounts.get_multiple_accounts,
        "getProgramAccounts": accounts.get_program_accounts,
        "getRecentPrioritizationFees": cluster.get_recent_prioritization_fees,
        "getSignatureStatuses": history.get_signature_statuses,
        "getSignaturesForAddress": history.get_signatures_for_address,
        "getSlot": cluster.get_slot,
        "getTokenAccountBalance": accounts.get_token_account_balance,
        "getTransaction": history.get_transaction,
        "getTransactionCount": cluster.get_transaction_count,
        "getVersion": cluster.get_version,
        "isBlockhashValid": cluster.is_blockhash_valid,
        "requestAirdrop": cluster.request_airdrop,
        "sendTransaction": transactions.send_transaction,
        "simulateTransaction": transactions.simulate_transaction,
    }
)


def answer(view: View, request: object) -> object:
    """Return the answer to one decoded request or batch, None when nobody waits for one.

    The chain changes only where the method says so (send, airdrop). Errors are part of the answer.
    """
    return answer_with(request, lambda name, params: _call(view, name, params))


def answer_bytes(view: View, body: bytes) -> bytes:
    """Return the encoded answer to an encoded request; empty when nobody waits for one."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return encode(refused(None, Refusal(PARSE_ERROR, "Parse error")))
    reply = answer(view, request)
    return b"" if reply is None else encode(reply)


def answer_with(request: object, call: Callable[[str, Params], object]) -> object:
    """Return the answer to a request or batch whose methods are found by `call`."""
    if not isinstance(request, list):
        return _answer_one(request, call)
    if not request:
        return refused(None, Refusal(INVALID_REQUEST, "Invalid request"))
    replies = [_answer_one(one, call) for one in request]
    return [reply for reply in replies if reply is not None] or None


def refused(identity: object, refusal: Refusal) -> dict[str, object]:
    """Return an answer that is an error."""
    return {"jsonrpc": "2.0", "error": refusal.to_json(), "id": identity}


def encode(reply: object) -> bytes:
    """Return an answer as JSON."""
    return msgspec.json.encode(reply)


def _call(view: View, name: str, params: Params) -> object:
    method = METHODS.get(name)
    if method is None:
        raise Refusal(METHOD_NOT_FOUND, "Method not found")
    return method(view, params)


def _answer_one(request: object, call: Callable[[str, Params], object]) -> object:
    if not isinstance(request, dict):
        return refused(None, Refusal(INVALID_REQUEST, "Invalid request"))
    members = cast("dict[str, object]", request)
    identity = members.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int | None):
        return refused(None, Refusal(INVALID_REQUEST, "Invalid request"))
    try:
        result = call(*_name_and_params(members))
    except Refusal as refusal:
        return refused(identity, refusal) if "id" in members else None
    if "id" not in members:
        return None
    return {"jsonrpc": "2.0", "result": result, "id": identity}


def _name_and_params(members: dict[str, object]) -> tuple[str, Params]:
    if members.get("jsonrpc") != "2.0":
        raise Refusal(INVALID_REQUEST, "Unsupported JSON-RPC protocol version")
    name = members.get("method")
    if not isinstance(name, str):
        raise Refusal(INVALID_REQUEST, "Invalid request")
    values = members.get("params")
    if values is None:
        return name, Params([])
    if not isinstance(values, list):
        raise invalid_params("Invalid params: expected an array of positional parameters.")
    return name, Params(values)
