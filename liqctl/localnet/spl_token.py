"""The little that a node itself knows about SPL token accounts."""

import struct
from dataclasses import dataclass

from solders.pubkey import Pubkey

from liqctl.localnet.account import AccountState

TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022_PROGRAM = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")

_TOKEN_ACCOUNT_LEN = 165
_MINT_LEN = 82
_ACCOUNT_TYPE_TOKEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHolding:
    """A token account: whose, of which mint, how many raw units."""

    mint: Pubkey
    owner: Pubkey
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBalance:
    """A holding at one key of a transaction, before or after it."""

    account_index: int
    program: Pubkey
    holding: TokenHolding
    decimals: int


def holding_of(state: AccountState | None) -> TokenHolding | None:
    """Return the holding in an account, None when it is not an initialized token account."""
    if state is None or state.owner not in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        return None
    content = state.data
    if len(content) < _TOKEN_ACCOUNT_LEN or content[108] == 0:
        return None
    if len(content) > _TOKEN_ACCOUNT_LEN and content[_TOKEN_ACCOUNT_LEN] != _ACCOUNT_TYPE_TOKEN:
        return None
    (amount,) = struct.unpack_from("<Q", content, 64)
    return TokenHolding(
        mint=Pubkey.from_bytes(content[:32]),
        owner=Pubkey.from_bytes(content[32:64]),
        amount=amount,
    )


def decimals_of(mint: AccountState | None) -> int | None:
    """Return the decimals of a mint, None when the account is not one."""
    if mint is None or len(mint.data) < _MINT_LEN or mint.data[45] == 0:
        return None
    return mint.data[44]


def amount_json(amount: int, decimals: int) -> dict[str, object]:
    """Return raw units as nodes show them: exact string, decimals, and a float for the eye."""
    whole, fraction = divmod(amount, 10**decimals)
    text = f"{whole}.{fraction:0{decimals}d}".rstrip("0").rstrip(".") if decimals else str(whole)
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": float(text),
        "uiAmountString": text,
    }
