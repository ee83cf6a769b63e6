"""Accounts of the golden vectors, with any of their fields changed, for product and model alike."""

import json
import struct
from functools import cache
from pathlib import Path

from solders.pubkey import Pubkey

from liqctl.core.account import Account
from liqctl.core.price import PriceReading
from liqctl.oracle.legacy_price import ACCOUNT_SIZE, LEGACY_OWNER, decode_legacy_price
from liqctl.venues.perpetuals_oracle import OracleAccount
from liqctl.venues.perpetuals_replay import Accounts
from tests.venues.perpetuals_model import Case

GOLDEN = json.loads(Path(__file__).with_name("perpetuals_golden.json").read_text())
PROGRAM = Pubkey.from_string(GOLDEN["program"])
VECTORS = GOLDEN["vectors"]

# Name, format, offset; 128-bit integers as two of 64, the lower first.
POSITION_FIELDS = (
    ("open_time", "q", 136),
    ("side", "B", 152),
    ("price", "Q", 153),
    ("size_usd", "Q", 161),
    ("borrow_size_usd", "Q", 169),
    ("collateral_usd", "Q", 177),
    ("unrealized_profit_usd", "Q", 185),
    ("unrealized_loss_usd", "Q", 193),
    ("snapshot_low", "Q", 201),
    ("snapshot_high", "Q", 209),
    ("locked_amount", "Q", 217),
    ("collateral_amount", "Q", 225),
)
STATS_FIELDS = (
    ("open_positions", "Q", 0),
    ("size_usd", "Q", 16),
    ("borrow_size_usd", "Q", 24),
    ("locked_amount", "Q", 32),
    ("weighted_price_low", "Q", 40),
    ("weighted_price_high", "Q", 48),
    ("total_quantity_low", "Q", 56),
    ("total_quantity_high", "Q", 64),
    ("cumulative_interest_usd", "Q", 72),
    ("snapshot_low", "Q", 80),
    ("snapshot_high", "Q", 88),
)
CUSTODY_FIELDS = (
    ("decimals", "B", 104),
    ("is_stable", "B", 105),
    ("is_virtual", "B", 106),
    ("oracle_type", "B", 139),
    ("max_price_error", "Q", 172),
    ("max_price_age_sec", "I", 180),
    ("use_ema", "B", 184),
    ("trade_spread_long", "Q", 186),
    ("trade_spread_short", "Q", 194),
    ("max_leverage", "Q", 226),
    ("allow_close_position", "B", 270),
    ("fees_mode", "B", 274),
    ("close_position", "Q", 347),
    ("liquidation", "Q", 355),
    ("protocol_share", "Q", 363),
    ("base_rate", "Q", 387),
    ("slope1", "Q", 395),
    ("slope2", "Q", 403),
    ("optimal_utilization", "Q", 411),
    ("collateral", "Q", 419),
    ("protocol_fees", "Q", 427),
    ("owned", "Q", 435),
    ("locked", "Q", 443),
    ("liquidation_usd", "Q", 539),
    *((f"long_{name}", kind, 579 + at) for name, kind, at in STATS_FIELDS),
    *((f"short_{name}", kind, 675 + at) for name, kind, at in STATS_FIELDS),
    ("current_rate", "Q", 771),
    ("cumulative_interest_low", "Q", 779),
    ("cumulative_interest_high", "Q", 787),
    ("last_update", "q", 795),
)
CUSTOM_FIELDS = (
    ("price", "Q", 8),
    ("expo", "i", 16),
    ("conf", "Q", 20),
    ("ema", "Q", 28),
    ("publish_time", "q", 36),
)
LEGACY_FIELDS = (
    ("version", "I", 4),
    ("type", "I", 8),
    ("expo", "i", 20),
    ("ema", "q", 48),
    ("ema_conf", "q", 72),
    ("timestamp", "q", 96),
    ("prev_price", "q", 184),
    ("prev_conf", "Q", 192),
    ("prev_timestamp", "q", 200),
    ("price", "q", 208),
    ("conf", "Q", 216),
    ("status", "I", 224),
)
LIMITS = {
    "B": (0, 255),
    "I": (0, 2**32 - 1),
    "i": (-(2**31), 2**31 - 1),
    "Q": (0, 2**64 - 1),
    "q": (-(2**63), 2**63 - 1),
}


class Planted:
    """The accounts of one vector as bytes that can be changed field by field."""

    def __init__(self, vector):
        self.now = vector["now"]
        self.is_custom = vector["oracle"] == "custom"
        self.keys = {
            name: bytes(Pubkey.from_string(vector[name]))
            for name in ("position", "custody", "collateral_custody")
        }
        self.same = vector["custody"] == vector["collateral_custody"]
        self.data = {
            "position": bytearray.fromhex(vector["position_data"]),
            "custody": bytearray.fromhex(vector["custody_data"]),
            "collateral_custody": bytearray.fromhex(vector["collateral_custody_data"]),
            "custody_oracle": bytearray.fromhex(vector["custody_oracle"]),
            "collateral_oracle": bytearray.fromhex(vector["collateral_oracle"]),
        }
        if not self.is_custom:
            for name in ("custody_oracle", "collateral_oracle"):
                self.data[name] = self.data[name].ljust(ACCOUNT_SIZE, b"\0")
        if self.same:
            self.data["collateral_custody"] = self.data["custody"]
            self.data["collateral_oracle"] = self.data["custody_oracle"]
        self.missing = set()

    def fields(self):
        """Return every field that can be changed: account, format, offset."""
        oracle = CUSTOM_FIELDS if self.is_custom else LEGACY_FIELDS
        tables = {
            "position": POSITION_FIELDS,
            "custody": CUSTODY_FIELDS,
            "custody_oracle": oracle,
        }
        if not self.same:
            tables |= {"collateral_custody": CUSTODY_FIELDS, "collateral_oracle": oracle}
        return [(name, one) for name, table in tables.items() for one in table]

    def get(self, account, kind, at):
        return struct.unpack_from("<" + kind, self.data[account], at)[0]

    def put(self, account, kind, at, value):
        low, high = LIMITS[kind]
        struct.pack_into("<" + kind, self.data[account], at, max(low, min(high, value)))
        if account == "position" and at == 152:
            self.settle_address()

    def settle_address(self):
        """Give the position the address that belongs to its side."""
        record = self.data["position"]
        key, bump = _address(
            bytes(record[8:40]), bytes(record[40:72]), self.keys["custody"], record[152]
        )
        self.keys["position"] = key
        record[233] = bump

    def blob(self, name):
        return None if name in self.missing else bytes(self.data[name])

    def case(self):
        return Case(
            program=bytes(PROGRAM),
            now=self.now,
            position_key=self.keys["position"],
            custody_key=self.keys["custody"],
            collateral_key=self.keys["collateral_custody"],
            position=self.blob("position"),
            custody=self.blob("custody"),
            collateral=self.blob("collateral_custody"),
            oracle=self.blob("custody_oracle"),
            collateral_oracle=self.blob("collateral_oracle"),
            oracle_is_custom=self.is_custom,
        )

    def accounts(self):
        return Accounts(
            program_id=str(PROGRAM),
            position=self.account("position"),
            custody=self.account("custody"),
            collateral_custody=self.account("collateral_custody"),
            custody_oracle=self.oracle("custody_oracle"),
            collateral_oracle=self.oracle("collateral_oracle"),
            now_s=self.now,
        )

    def oracle(self, name):
        account = self.account(name)
        if account is None:
            return None
        legacy = decode_legacy_price(account)
        found = legacy if isinstance(legacy, PriceReading) else None
        return OracleAccount(account=account, legacy=found)

    def account(self, name, address=None):
        blob = self.blob(name)
        if blob is None:
            return None
        oracle = name.endswith("oracle")
        owner = LEGACY_OWNER if oracle and not self.is_custom else str(PROGRAM)
        held = str(Pubkey(self.keys[name])) if name in self.keys else name
        return Account(address=address or held, owner=owner, lamports=1, data=blob, slot=7)


@cache
def _address(owner, pool, custody, side):
    seeds = [b"position", owner, pool, custody, bytes([side])]
    key, bump = Pubkey.find_program_address(seeds, PROGRAM)
    return bytes(key), bump
