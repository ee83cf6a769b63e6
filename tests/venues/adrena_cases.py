"""One Adrena market with a long, a short and everything they rest on."""

from solders.pubkey import Pubkey

from liqctl.keeper.decode import decode
from liqctl.venues.adrena import AdrenaVenue
from tests.venues.forged import (
    ADRENA,
    CORTEX,
    CUSTODY,
    NOW,
    ORACLE,
    POOL,
    POSITION,
    PROFILE,
    address,
    forged,
)

VENUE = AdrenaVenue(ADRENA)
OWNER, LIQUIDATOR, REFERRER = address(1), address(2), address(3)
POOL_AT, SOL_AT, USDC_AT = address(4), address(5), address(6)
SOL_MINT, USDC_MINT = address(7), address(8)
SOL_VAULT, USDC_VAULT = address(9), address(10)
LONG_AT, SHORT_AT = address(11), address(12)
SOL_FEED, SOL_TRADE_FEED, USDC_FEED = 31, 30, 35
DOLLAR = 10**10


def pda(*seeds):
    return str(Pubkey.find_program_address(list(seeds), Pubkey.from_string(ADRENA))[0])


ORACLE_AT, CORTEX_AT = pda(b"oracle"), pda(b"cortex")
PROFILE_AT = pda(b"user_profile", bytes(Pubkey.from_string(OWNER)))


def position(side, **more):
    """A position over 1,500 USD at 150, with 50 USD of collateral, as of an hour ago."""
    values = {
        "open_time": NOW - 3_600,
        "price": 150 * DOLLAR,
        "size_usd": 1_500_000_000,
        "borrow_size_usd": 1_500_000_000,
        "collateral_usd": 50_000_000,
        "unrealized_interest_usd": 0,
        "snapshot": 0,
        "locked_amount": 20 * 10**9 if side == 1 else 3_000_000_000,
        "collateral_amount": 333_333_333,
        "exit_fee_usd": 1_000_000,
        "liquidation_fee_usd": 2_000_000,
        "paid_interest_usd": 0,
        "l2s": 0,
        "s2l": 0,
        "funding_paid": 0,
        "funding_received": 0,
        **more,
    }
    where, collateral = (LONG_AT, SOL_AT) if side == 1 else (SHORT_AT, USDC_AT)
    fields = [
        (9, "B", side), (16, "key", OWNER), (48, "key", POOL_AT), (80, "key", SOL_AT),
        (112, "key", collateral), (144, "q", values["open_time"]), (152, "q", NOW - 60),
        (160, "Q", values["price"]), (168, "Q", values["size_usd"]),
        (176, "Q", values["borrow_size_usd"]), (184, "Q", values["collateral_usd"]),
        (192, "Q", values["unrealized_interest_usd"]), (200, "high_first", values["snapshot"]),
        (216, "Q", values["locked_amount"]), (224, "Q", values["collateral_amount"]),
        (232, "Q", values["exit_fee_usd"]), (240, "Q", values["liquidation_fee_usd"]),
        (264, "Q", values["paid_interest_usd"]), (288, "high_first", values["l2s"]),
        (304, "high_first", values["s2l"]), (320, "Q", values["funding_paid"]),
        (328, "Q", values["funding_received"]),
    ]  # fmt: skip
    return forged(ADRENA, where, POSITION, 464, fields)


def custody(where=SOL_AT, **more):
    sol = where == SOL_AT
    values = {
        "pool": POOL_AT,
        "mint": SOL_MINT if sol else USDC_MINT,
        "leverage": 5_000_000,
        "feed": SOL_FEED if sol else USDC_FEED,
        "trade_feed": SOL_TRADE_FEED if sol else USDC_FEED,
        "rate": 0,
        "interest_update": NOW - 3_600,
        "cumulative": 0,
        "funding_rate": 0,
        "funding_update": NOW - 3_600,
        "l2s": 0,
        "s2l": 0,
        "synthetic": 0,
        **more,
    }
    fields = [
        (12, "B", 9 if sol else 6), (13, "B", 0 if sol else 1), (16, "key", values["pool"]),
        (48, "key", values["mint"]), (80, "key", SOL_VAULT if sol else USDC_VAULT),
        (112, "name", "JITOSOLUSD" if sol else "USDCUSD"),
        (144, "name", "SOLUSD" if sol else "USDCUSD"), (180, "I", values["leverage"]),
        (800, "Q", values["rate"]), (808, "q", values["interest_update"]),
        (816, "high_first", values["cumulative"]), (864, "q", values["funding_rate"]),
        (872, "q", values["funding_update"]), (880, "high_first", values["l2s"]),
        (896, "high_first", values["s2l"]), (912, "B", values["synthetic"]),
        (914, "B", values["feed"]), (915, "B", values["trade_feed"]),
    ]  # fmt: skip
    return forged(ADRENA, where, CUSTODY, 1_168, fields)


def pool(staleness_s=7):
    return forged(ADRENA, POOL_AT, POOL, 2_528, [(16, "name", "main"), (726, "H", staleness_s)])


def oracle(sol=150 * DOLLAR, *, age_s=1, version=3, exponent=-10, confidence=None):
    prices = [
        (SOL_TRADE_FEED, sol, sol * 25 // 10_000 if confidence is None else confidence),
        (SOL_FEED, sol * 12 // 10, 0),
        (USDC_FEED, DOLLAR, 0),
    ]
    fields = [(9, "B", version), (10, "B", len(prices)), (16, "q", NOW - age_s)]
    for n, (feed, price, band) in enumerate(prices):
        at = 24 + 64 * n
        fields += [
            (at, "Q", price), (at + 8, "Q", band), (at + 16, "q", NOW - age_s),
            (at + 24, "i", exponent), (at + 28, "B", feed), (at + 32, "name", f"P{feed}"),
        ]  # fmt: skip
    return forged(ADRENA, ORACLE_AT, ORACLE, 3_224, fields)


def cortex(size=488):
    return forged(ADRENA, CORTEX_AT, CORTEX, size, [])


def profile(referrer=None):
    fields = [(56, "key", OWNER)] + ([(344, "key", referrer)] if referrer else [])
    return forged(ADRENA, PROFILE_AT, PROFILE, 408, fields)


def world(*changed, sides=(1, 2)):
    """Every account by address; those given take the place of the usual ones."""
    usual = [
        *(position(one) for one in sides),
        custody(),
        custody(USDC_AT),
        pool(),
        oracle(),
        cortex(),
    ]
    return {one.address: one for one in (*usual, *changed)}


def view_of(accounts):
    return {where: decode(VENUE, where, one, 9) for where, one in accounts.items()}
