"""Methods that read accounts."""

import base64
from collections.abc import Callable, Sequence
from typing import cast

from liqctl.chain import base58
from liqctl.localnet.account import AccountState
from liqctl.localnet.rpc.encoding import AccountFormat, Encoding
from liqctl.localnet.rpc.errors import invalid_params
from liqctl.localnet.rpc.params import Config, Params, as_list, as_pubkey, as_u64, with_context
from liqctl.localnet.rpc.view import View
from liqctl.localnet.spl_token import amount_json, decimals_of, holding_of

ACCOUNTS_MAX = 100
_FILTERS_MAX = 4
_MEMCMP_BYTES_MAX = 128

AccountFilter = Callable[[bytes], bool]


def get_account_info(view: View, params: Params) -> object:
    """Return one account, null when it does not exist."""
    key, config = params.pubkey(0), params.config(1)
    layout = AccountFormat.of(config, Encoding.BINARY)
    block = config.bank(view)
    return with_context(block, _answer(view.account_at(key, block), layout))


def get_multiple_accounts(view: View, params: Params) -> object:
    """Return up to 100 accounts of one block, null for each that does not exist."""
    keys = [as_pubkey(text) for text in params.texts(0, count_max=ACCOUNTS_MAX)]
    config = params.config(1)
    layout = AccountFormat.of(config, Encoding.BASE64)
    block = config.bank(view)
    return with_context(block, [_answer(view.account_at(key, block), layout) for key in keys])


def get_program_accounts(view: View, params: Params) -> object:
    """Return the accounts of a program that pass all filters."""
    program, config = params.pubkey(0), params.config(1)
    layout = AccountFormat.of(config, Encoding.BINARY)
    accept = filter_of(config)
    block = config.bank(view)
    found = [
        {"account": layout.answer(state), "pubkey": str(key)}
        for key, state in view.accounts_at(program, block)
        if accept(state.data)
    ]
    return with_context(block, found) if config.flag("withContext") else found


def get_balance(view: View, params: Params) -> object:
    """Return the lamports of an account, 0 when it does not exist."""
    key, config = params.pubkey(0), params.config(1)
    block = config.bank(view)
    state = view.account_at(key, block)
    return with_context(block, 0 if state is None else state.lamports)


def get_token_account_balance(view: View, params: Params) -> object:
    """Return the tokens in a token account."""
    key, config = params.pubkey(0), params.config(1)
    block = config.bank(view)
    state = view.account_at(key, block)
    if state is None:
        raise invalid_params("Invalid param: could not find account")
    holding = holding_of(state)
    if holding is None:
        raise invalid_params("Invalid param: not a Token account")
    decimals = decimals_of(view.account_at(holding.mint, block))
    if decimals is None:
        raise invalid_params("Invalid param: could not find mint")
    return with_context(block, amount_json(holding.amount, decimals))


def get_minimum_balance(view: View, params: Params) -> object:
    """Return the lamports that exempt an account of a given length from rent."""
    return view.minimum_balance(params.number(0))


def filter_of(config: Config) -> AccountFilter:
    """Return one predicate over account bytes for the `filters` of a configuration object."""
    listed = config.get("filters")
    filters = [_one_filter(item) for item in as_list(listed, "filters")] if listed else []
    if len(filters) > _FILTERS_MAX:
        raise invalid_params(f"Too many filters provided; max {_FILTERS_MAX}")
    return lambda content: all(accept(content) for accept in filters)


def _answer(state: AccountState | None, layout: AccountFormat) -> dict[str, object] | None:
    return None if state is None else layout.answer(state)


def _one_filter(item: object) -> AccountFilter:
    match item:
        case {"dataSize": size}:
            length = as_u64(size, "dataSize")
            return lambda content: len(content) == length
        case {"memcmp": {"offset": offset, "bytes": wanted, **rest}}:
            start = as_u64(offset, "memcmp.offset")
            pattern = _pattern(wanted, rest.get("encoding"))
            return lambda content: content[start : start + len(pattern)] == pattern
        case "tokenAccountState":
            return lambda content: len(content) >= 165 and content[108] != 0
        case _:
            raise invalid_params("Invalid params: filters: expected `dataSize` or `memcmp`.")


def _pattern(wanted: object, encoding: object) -> bytes:
    try:
        if isinstance(wanted, list):
            pattern = bytes(cast("Sequence[int]", wanted))
        elif isinstance(wanted, str) and encoding == "base64":
            pattern = base64.b64decode(wanted, validate=True)
        elif isinstance(wanted, str) and encoding in (None, "base58", "binary"):
            pattern = base58.decode(wanted)
        else:
            raise invalid_params("Invalid param: memcmp: unsupported encoding")
    except (ValueError, TypeError) as error:
        raise invalid_params(f"Invalid param: memcmp: {error}") from error
    if len(pattern) > _MEMCMP_BYTES_MAX:
        raise invalid_params("Invalid param: memcmp: data too large")
    return pattern
