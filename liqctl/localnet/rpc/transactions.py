"""Methods that run transactions: send and simulate."""

import base64
from collections.abc import Mapping, Sequence

from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import SanitizeError, VersionedTransaction

from liqctl.chain import base58
from liqctl.localnet.account import AccountState
from liqctl.localnet.failure import failure_text
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.rpc.cluster import blockhash_json, check_health
from liqctl.localnet.rpc.encoding import AccountFormat, Encoding, encoding_of, transaction_bytes
from liqctl.localnet.rpc.errors import (
    PREFLIGHT_FAILURE,
    SIGNATURE_FAILURE,
    Refusal,
    invalid_params,
)
from liqctl.localnet.rpc.params import Config, Params, as_pubkey, as_texts, with_context
from liqctl.localnet.rpc.view import View
from liqctl.localnet.vm import Execution, InnerCall


def send_transaction(view: View, params: Params) -> object:
    """Give a transaction to the leader and return its signature.

    The signature says only that the bytes were taken: without preflight an expired, repeated or
    unpayable transaction vanishes without an error, as on a real cluster.
    """
    config = params.config(1)
    transaction = decode_transaction(params.text(0), config.text("encoding"))
    config.number("maxRetries")
    skip = config.flag("skipPreflight")
    level = Commitment.PROCESSED if skip else config.commitment("preflightCommitment")
    config.bank(view, commitment=level)
    sanitize(transaction)
    if not skip:
        _preflight(view, transaction, level)
    view.submit(transaction, verified=not skip)
    return str(transaction.signatures[0])


def simulate_transaction(view: View, params: Params) -> object:
    """Run a transaction on the open block without keeping anything."""
    config = params.config(1)
    transaction = decode_transaction(params.text(0), config.text("encoding"))
    verify, replace = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
    if verify and replace:
        raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
    block = config.bank(view)
    sanitize(transaction)
    if verify:
        check_signatures(transaction)
    failure = None
    if not replace:
        blockhash = transaction.message.recent_blockhash
        failure = view.unfit(blockhash, transaction.signatures[0], block)
    execution = view.simulate(transaction) if failure is None else Execution(failure=failure)
    accounts = _requested_accounts(view, config, transaction, execution)
    value = simulation_json(execution, accounts)
    value["replacementBlockhash"] = blockhash_json(block) if replace else None
    if config.flag("innerInstructions"):
        value["innerInstructions"] = inner_json(execution.inner_calls)
    return with_context(block, value)


def decode_transaction(text: str, encoding: str | None) -> VersionedTransaction:
    """Return the transaction of a parameter, in base58 unless the encoding says base64."""
    content = transaction_bytes(text, encoding)
    try:
        return VersionedTransaction.from_bytes(content)
    except ValueError as error:
        raise invalid_params(
            f"failed to deserialize solana_transaction::versioned::VersionedTransaction: {error}"
        ) from error


def sanitize(transaction: VersionedTransaction) -> None:
    """Refuse a transaction whose indices point nowhere or whose signatures do not fit its keys."""
    try:
        transaction.sanitize()
    except SanitizeError as error:
        raise invalid_params(f"invalid transaction: {error}") from error


def check_signatures(transaction: VersionedTransaction) -> None:
    """Refuse a transaction with a wrong signature."""
    if not all(transaction.verify_with_results()):
        raise Refusal(SIGNATURE_FAILURE, "Transaction signature verification failure")


def simulation_json(
    execution: Execution, accounts: Sequence[object] | None = None
) -> dict[str, object]:
    """Return the result of a simulation as nodes write it."""
    return {
        "accounts": accounts,
        "err": execution.failure,
        "innerInstructions": None,
        "logs": list(execution.logs),
        "replacementBlockhash": None,
        "returnData": returned_json(execution),
        "unitsConsumed": execution.units_consumed,
    }


def returned_json(execution: Execution) -> dict[str, object] | None:
    """Return what the last program returned, None when it returned nothing."""
    if execution.return_value is None:
        return None
    program, content = execution.return_value
    return {
        "data": [base64.b64encode(content).decode(), "base64"],
        "programId": str(program),
    }


def inner_json(groups: Sequence[Sequence[InnerCall]]) -> list[dict[str, object]]:
    """Return cross-program calls, grouped by the instruction that made them."""
    return [
        {"index": index, "instructions": [_inner_call_json(call) for call in calls]}
        for index, calls in enumerate(groups)
        if calls
    ]


def _inner_call_json(call: InnerCall) -> dict[str, object]:
    instruction = call.instruction
    return {
        "accounts": list(instruction.accounts),
        "data": base58.encode(instruction.data),
        "programIdIndex": instruction.program_id_index,
        "stackHeight": call.stack_height,
    }


def _preflight(view: View, transaction: VersionedTransaction, level: Commitment) -> None:
    check_signatures(transaction)
    check_health(view)
    signature = transaction.signatures[0]
    bank = view.ledger.bank(level)
    failure = view.unfit(transaction.message.recent_blockhash, signature, bank)
    if failure is None and view.history.find(signature) is not None:
        # It landed in a block that the preflight bank has not seen: there it would still pass.
        return
    execution = view.simulate(transaction) if failure is None else Execution(failure=failure)
    if execution.failure is not None:
        raise Refusal(
            PREFLIGHT_FAILURE,
            f"Transaction simulation failed: {failure_text(execution.failure)}",
            simulation_json(execution),
        )


def _requested_accounts(
    view: View, config: Config, transaction: VersionedTransaction, execution: Execution
) -> Sequence[object] | None:
    wanted = config.get("accounts")
    if wanted is None:
        return None
    if not isinstance(wanted, dict):
        raise invalid_params("Invalid params: accounts: expected an object.")
    inner = Config(wanted)
    encoding = encoding_of(inner.text("encoding"), Encoding.BASE64)
    if encoding in (Encoding.BINARY, Encoding.BASE58):
        raise invalid_params("base58 encoding not supported")
    keys = [as_pubkey(text) for text in as_texts(inner.get("addresses"), "accounts.addresses")]
    if len(keys) > _key_count(transaction):
        raise invalid_params(f"Too many accounts provided; max {_key_count(transaction)}")
    if execution.failure is not None:
        return [None] * len(keys)
    layout = AccountFormat(encoding=encoding)
    return [_after(view, key, execution.post_accounts, layout) for key in keys]


def _after(
    view: View,
    key: Pubkey,
    changed: Mapping[Pubkey, AccountState],
    layout: AccountFormat,
) -> object:
    state = changed.get(key) or view.account(key)
    return None if state is None or state.lamports == 0 else layout.render(state)


def _key_count(transaction: VersionedTransaction) -> int:
    message = transaction.message
    count = len(message.account_keys)
    if isinstance(message, MessageV0):
        for lookup in message.address_table_lookups:
            count += len(lookup.writable_indexes) + len(lookup.readonly_indexes)
    return count
