"""The accounts of one case as the reference program keeps them, and their addresses."""

import struct

from solders.pubkey import Pubkey

from liqctl.core.account import Account
from liqctl.oracle.price_update import RECEIVER_CLASSIC
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.venues.program_cases import FEED, NOW, Case

PROGRAM = Pubkey.from_string(str(REFERENCE_IDL.address))
TOKEN = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
RECEIVER = Pubkey.from_string(RECEIVER_CLASSIC)
LIQUIDATOR, OWNER, MINT, PRICE = (Pubkey(bytes([n]) * 32) for n in (11, 12, 13, 14))
LIQUIDATOR_TOKEN, OWNER_TOKEN = (Pubkey(bytes([n]) * 32) for n in (15, 16))
SYMBOL = b"SOL-PERP".ljust(16, b"\0")
POSITION_ID = 7
SLOT = 1_000
OTHER_SIZE = 5_000_000_000


def _found(*seeds: bytes) -> tuple[Pubkey, int]:
    return Pubkey.find_program_address(seeds, PROGRAM)


FUND, FUND_BUMP = _found(b"insurance_fund")
VAULT, VAULT_BUMP = _found(b"vault")
MARKET, MARKET_BUMP = _found(b"market", SYMBOL)
POSITION, POSITION_BUMP = _found(
    b"position", bytes(OWNER), bytes(MARKET), struct.pack("<Q", POSITION_ID)
)


def seen_account(address: Pubkey, owner: Pubkey, blob: bytes) -> Account:
    """Return planted bytes as an RPC answer would show them."""
    return Account(address=str(address), owner=str(owner), lamports=1, data=blob, slot=SLOT)


def _written(name: str, values: dict[str, object]) -> bytes:
    return REFERENCE_IDL.account_discriminator(name) + REFERENCE_IDL.account_layout(name).write(
        values
    )


def market_bytes(case: Case) -> bytes:
    tiers = (*case.tiers, *((0, 0),) * 5)[:5]
    long = case.size > 0
    return _written(
        "Market",
        {
            "symbol": SYMBOL,
            "price_account": bytes(PRICE),
            "feed_id": FEED,
            "price_program": bytes(RECEIVER),
            "max_price_age_s": case.max_age,
            "profit_pool": case.pool,
            "open_interest_long": OTHER_SIZE + (case.size if long else 0),
            "open_interest_short": OTHER_SIZE + (0 if long else -case.size),
            "position_count": 3,
            "min_reward": case.min_reward,
            "min_position_notional": case.min_notional,
            "max_confidence_bps": case.max_confidence_bps,
            "liquidation_fee_bps": case.fee_bps,
            "liquidator_share_bps": case.share_bps,
            "target_health_bps": case.target_bps,
            "tiers": [{"max_leverage": limit, "maintenance_bps": bps} for limit, bps in tiers],
            "paused": case.paused,
            "bump": MARKET_BUMP,
            "padding": bytes(2),
        },
    )


def position_bytes(case: Case) -> bytes:
    return _written(
        "Position",
        {
            "owner": bytes(OWNER),
            "market": bytes(MARKET),
            "id": POSITION_ID,
            "size": case.size,
            "entry_price": case.entry_price,
            "collateral": case.collateral,
            "opened_at": NOW - 3_600,
            "opened_slot": 900,
            "updated_slot": 900,
            "realized_pnl": 0,
            "leverage": case.leverage,
            "bump": POSITION_BUMP,
            "padding": bytes(5),
        },
    )


def fund_bytes(case: Case) -> bytes:
    return _written(
        "InsuranceFund",
        {
            "authority": bytes(LIQUIDATOR),
            "mint": bytes(MINT),
            "vault": bytes(VAULT),
            "balance": case.fund,
            "bad_debt_covered": 0,
            "bad_debt_uncovered": 0,
            "liquidation_count": 41,
            "bump": FUND_BUMP,
            "vault_bump": VAULT_BUMP,
            "padding": bytes(6),
        },
    )


def token_bytes(owner: Pubkey, amount: int) -> bytes:
    initialized = bytes(36) + b"\x01"
    return (bytes(MINT) + bytes(owner) + struct.pack("<Q", amount) + initialized).ljust(165, b"\0")


def mint_bytes() -> bytes:
    decimals, initialized = 6, 1
    return (bytes(44) + bytes([decimals, initialized])).ljust(82, b"\0")
