"""What a scan of perpetuals positions from memory costs: bytes to verdicts, one by one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liqctl.core.account import Account

PROGRAM = "PERPHjGBqRHArX4DySjwM6UJHiR3sWAatqfdBS2qQJu"
NOW_S = 1_800_000_000
USD = 10**6
LEVERAGE_MAX_BPS = 1_000_000
LIQUIDATABLE_EVERY = 100

# Every other field of an account is zero.
CUSTODY = {
    "decimals": 9,
    "oracle.oracle_type": 1,
    "oracle.max_price_error": 100,
    "oracle.max_price_age_sec": 60,
    "pricing.max_leverage": LEVERAGE_MAX_BPS,
    "permissions.allow_close_position": 1,
    "fees.liquidation": 100,
    "assets.owned": 10**15,
    "long_positions.open_positions": 10**6,
    "long_positions.size_usd": 10**15,
}
PRICE = {"price": 150 * USD, "expo": -6, "conf": 1, "ema": 150 * USD, "publish_time": NOW_S}


def scans(n: int, rival_n: int) -> tuple[Callable[[], int], Callable[[], None]]:
    """Return a scan of n positions, which counts the liquidatable ones, and a rival.

    The rival only decodes `rival_n` of the same accounts, with the general coder for IDLs.
    """
    from liqctl.core.account import Seen  # noqa: PLC0415 - with the core only
    from liqctl.core.position import Position  # noqa: PLC0415 - with the core only
    from liqctl.venues.idl import anchorpy_coder  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.venues.perpetuals_layout import PERPETUALS_IDL  # noqa: PLC0415 - 150 ms
    from liqctl.venues.registry import open_venue  # noqa: PLC0415 - 150 ms, not for --help

    venue = open_venue("perpetuals", PROGRAM)
    market, accounts = _market_accounts()
    view = {a.address: Seen(address=a.address, slot=1, value=venue.decode(a)) for a in accounts}
    positions = list(_positions(n, market))
    coder = anchorpy_coder(PERPETUALS_IDL.raw)

    def scan() -> int:
        found = 0
        for account in positions:
            position = venue.decode(account)
            if isinstance(position, Position):
                found += venue.assess(position, view, NOW_S).liquidatable is True
        return found

    def general() -> None:
        for account in positions[:rival_n]:
            coder.accounts.decode(account.data)

    return scan, general


def _market_accounts() -> tuple[bytes, list["Account"]]:
    """Return the key of a custody, and it with its oracle account."""
    from solders.pubkey import Pubkey  # noqa: PLC0415 - 30 ms, not for --help

    custody, oracle = bytes([1] * 32), bytes([2] * 32)
    keys = {"oracle.oracle_account": oracle, "mint": bytes([3] * 32)}
    return custody, [
        _account(str(Pubkey(custody)), "Custody", {**CUSTODY, **keys}),
        _account(str(Pubkey(oracle)), "CustomOracle", PRICE),
    ]


def _positions(n: int, market: bytes) -> Iterator["Account"]:
    for number in range(n):
        collateral = USD if number % LIQUIDATABLE_EVERY == 0 else 1_000 * USD
        values = {
            "owner": number.to_bytes(32, "little"),
            "custody": market,
            "collateral_custody": market,
            "open_time": NOW_S - 1_000,
            "side": 1,
            "price": 151 * USD,
            "size_usd": 10_000 * USD + number,
            "collateral_usd": collateral,
            "locked_amount": 10**12,
            "collateral_amount": 10**10,
        }
        yield _account(f"position {number}", "Position", values)


def _account(address: str, kind: str, values: Mapping[str, object]) -> "Account":
    from liqctl.core.account import Account  # noqa: PLC0415 - with the core only
    from liqctl.venues.perpetuals_layout import (  # noqa: PLC0415 - 150 ms, not for --help
        PERPETUALS_IDL,
        discriminator,
    )

    layout = PERPETUALS_IDL.account_layout(kind)
    zeros = {name: bytes(32) if layout.kind_of(name) == "pubkey" else 0 for name in layout.names}
    body = layout.write(_nested({**zeros, **values}.items()))
    return Account(
        address=address, owner=PROGRAM, lamports=1, data=discriminator(kind) + body, slot=1
    )


def _nested(values: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return values by path as values by name, those of structs in mappings of their own."""
    found: dict[str, object] = {}
    inner: dict[str, dict[str, object]] = {}
    for path, value in values:
        name, dot, rest = path.partition(".")
        if dot:
            inner.setdefault(name, {})[rest] = value
        else:
            found[name] = value
    return found | inner
