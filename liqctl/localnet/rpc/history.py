"""Methods that look back: statuses, signatures of an address, whole transactions."""

import base64
from collections.abc import Iterator, Sequence
from itertools import islice

from solders.message import Message, MessageV0
from solders.signature import Signature

from liqctl.chain import base58
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Block, Commitment
from liqctl.localnet.rpc.errors import UNSUPPORTED_TRANSACTION_VERSION, Refusal, invalid_params
from liqctl.localnet.rpc.params import Config, Params, as_signature, unknown_variant, with_context
from liqctl.localnet.rpc.transactions import inner_json, returned_json
from liqctl.localnet.rpc.view import View
from liqctl.localnet.spl_token import TokenBalance, amount_json

_TRANSACTION_ENCODINGS = ("json", "jsonParsed", "base64", "base58")
_STATUSES_MAX = 256
_STATUS_CACHE_BLOCKS = 300
_SIGNATURES_MAX = 1000


def get_signature_statuses(view: View, params: Params) -> object:
    """Return the status of up to 256 signatures, null for each that is not known.

    The context is always the processed block. Without `searchTransactionHistory` only the last
    300 blocks are looked at.
    """
    texts = params.texts(0, count_max=_STATUSES_MAX)
    search = params.config(1).flag("searchTransactionHistory")
    block = view.ledger.bank(Commitment.PROCESSED)
    values = [_status(view, as_signature(text), block, search=search) for text in texts]
    return with_context(block, values)


def get_signatures_for_address(view: View, params: Params) -> object:
    """Return the signatures that name an address, the newest first, at most 1,000."""
    address, config = params.pubkey(0), params.config(1)
    block = at_least_confirmed(view, config)
    seen = (one for one in view.history.of_address(address) if one.slot <= block.slot)
    return signatures_page(view, config, seen)


def signatures_page(view: View, config: Config, newest_first: Iterator[Landed]) -> object:
    """Return the part of the transactions that `limit`, `before` and `until` ask for."""
    limit = config.number("limit")
    limit = _SIGNATURES_MAX if limit is None else limit
    if not 1 <= limit <= _SIGNATURES_MAX:
        raise invalid_params(f"Invalid limit; max {_SIGNATURES_MAX}")
    before, until = _signature(config, "before"), _signature(config, "until")
    page = islice(_between(newest_first, before, until), limit)
    return [
        {
            "blockTime": one.unix_s,
            "confirmationStatus": view.ledger.level_of(one.slot),
            "err": one.failure,
            "memo": None,
            "signature": str(one.signature),
            "slot": one.slot,
        }
        for one in page
    ]


def get_transaction(view: View, params: Params) -> object:
    """Return a transaction with what it did, null when it is not in a block of that level."""
    signature = as_signature(params.text(0))
    raw_config = params.value(1)
    config = Config({"encoding": raw_config}) if isinstance(raw_config, str) else params.config(1)
    encoding = config.text("encoding") or "json"
    if encoding not in _TRANSACTION_ENCODINGS:
        raise unknown_variant(encoding, _TRANSACTION_ENCODINGS)
    block = at_least_confirmed(view, config)
    landed = view.history.find(signature)
    if landed is None or landed.slot > block.slot:
        return None
    answer: dict[str, object] = {
        "blockTime": landed.unix_s,
        "meta": _meta_json(landed),
        "slot": landed.slot,
        "transaction": _transaction_json(landed, encoding),
    }
    if config.number("maxSupportedTransactionVersion") is not None:
        is_legacy = isinstance(landed.transaction.message, Message)
        answer["version"] = "legacy" if is_legacy else 0
    elif not isinstance(landed.transaction.message, Message):
        raise Refusal(
            UNSUPPORTED_TRANSACTION_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the "
            'request again with the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    return answer


def _status(
    view: View, signature: Signature, block: Block, *, search: bool
) -> dict[str, object] | None:
    landed = view.history.find(signature)
    if landed is None:
        return None
    height = view.ledger.height_of(landed.slot)
    if not search and (height is None or block.height - height > _STATUS_CACHE_BLOCKS):
        return None
    level = view.ledger.level_of(landed.slot)
    confirmations = None
    if level is not Commitment.FINALIZED and height is not None:
        confirmations = block.height - height
    return status_json(landed, level, confirmations)


def status_json(landed: Landed, level: Commitment, confirmations: int | None) -> dict[str, object]:
    """Return the status of a transaction; `confirmations` is None once it is finalized."""
    return {
        "confirmationStatus": level,
        "confirmations": confirmations,
        "err": landed.failure,
        "slot": landed.slot,
        "status": {"Ok": None} if landed.failure is None else {"Err": landed.failure},
    }


def at_least_confirmed(view: View, config: Config) -> Block:
    """Return the block that answers; methods of the history refuse the processed one."""
    if config.commitment() is Commitment.PROCESSED:
        raise invalid_params("Method does not support commitment below `confirmed`")
    return config.bank(view)


def _signature(config: Config, name: str) -> Signature | None:
    text = config.text(name)
    return None if text is None else as_signature(text)


def _between(
    newest_first: Iterator[Landed], before: Signature | None, until: Signature | None
) -> Iterator[Landed]:
    started = before is None
    for one in newest_first:
        if until is not None and one.signature == until:
            return
        if started:
            yield one
        started = started or one.signature == before


def _meta_json(landed: Landed) -> dict[str, object]:
    execution = landed.execution
    meta: dict[str, object] = {
        "computeUnitsConsumed": execution.units_consumed,
        "err": landed.failure,
        "fee": execution.fee_lamports,
        "innerInstructions": inner_json(execution.inner_calls),
        "loadedAddresses": {
            "readonly": [str(key) for key in landed.keys.loaded_readonly],
            "writable": [str(key) for key in landed.keys.loaded_writable],
        },
        "logMessages": list(execution.logs),
        "postBalances": list(landed.post_lamports),
        "postTokenBalances": [_token_json(balance) for balance in landed.post_tokens],
        "preBalances": list(landed.pre_lamports),
        "preTokenBalances": [_token_json(balance) for balance in landed.pre_tokens],
        "rewards": [],
        "status": {"Ok": None} if landed.failure is None else {"Err": landed.failure},
    }
    if execution.return_value is not None:
        meta["returnData"] = returned_json(execution)
    return meta


def _token_json(balance: TokenBalance) -> dict[str, object]:
    return {
        "accountIndex": balance.account_index,
        "mint": str(balance.holding.mint),
        "owner": str(balance.holding.owner),
        "programId": str(balance.program),
        "uiTokenAmount": amount_json(balance.holding.amount, balance.decimals),
    }


def _transaction_json(landed: Landed, encoding: str) -> object:
    content = bytes(landed.transaction)
    match encoding:
        case "base64":
            return [base64.b64encode(content).decode(), "base64"]
        case "base58":
            return [base58.encode(content), "base58"]
        case "jsonParsed":
            message = _parsed_message(landed)
        case _:
            message = _message(landed.transaction.message)
    return {"message": message, "signatures": [str(one) for one in landed.transaction.signatures]}


def _message(message: Message | MessageV0) -> dict[str, object]:
    header = message.header
    body: dict[str, object] = {
        "accountKeys": [str(key) for key in message.account_keys],
        "header": {
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
            "numRequiredSignatures": header.num_required_signatures,
        },
        "instructions": [
            {
                "accounts": list(instruction.accounts),
                "data": base58.encode(instruction.data),
                "programIdIndex": instruction.program_id_index,
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
        "recentBlockhash": str(message.recent_blockhash),
    }
    if isinstance(message, MessageV0):
        body["addressTableLookups"] = _lookups(message)
    return body


def _lookups(message: MessageV0) -> list[dict[str, object]]:
    return [
        {
            "accountKey": str(lookup.account_key),
            "readonlyIndexes": list(lookup.readonly_indexes),
            "writableIndexes": list(lookup.writable_indexes),
        }
        for lookup in message.address_table_lookups
    ]


def _parsed_message(landed: Landed) -> dict[str, object]:
    message, keys = landed.transaction.message, landed.keys
    texts = [str(key) for key in keys.all]
    signers = message.header.num_required_signatures
    body: dict[str, object] = {
        "accountKeys": [
            {
                "pubkey": texts[index],
                "signer": index < signers,
                "source": "transaction" if index < len(keys.static) else "lookupTable",
                "writable": key in keys.writable,
            }
            for index, key in enumerate(keys.all)
        ],
        "instructions": [
            {
                "accounts": _named(texts, instruction.accounts),
                "data": base58.encode(instruction.data),
                "programId": texts[instruction.program_id_index],
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
        "recentBlockhash": str(message.recent_blockhash),
    }
    if isinstance(message, MessageV0):
        body["addressTableLookups"] = _lookups(message)
    return body


def _named(texts: Sequence[str], indices: Sequence[int]) -> list[str]:
    return [texts[index] for index in bytes(indices)]
