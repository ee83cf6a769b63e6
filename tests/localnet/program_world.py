"""A Solana VM with the reference program, a mint and people: what the tests of the program act on."""

import base64
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata

import liqctl.venues
from liqctl.localnet.program import program_bytes

IDL = json.loads(
    (Path(liqctl.venues.__file__).parent / "liquidation_engine.json").read_text(encoding="utf-8")
)
PROGRAM = Pubkey.from_string(IDL["address"])
TOKEN_PROGRAM = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
SYSTEM_PROGRAM = Pubkey.default()
RECEIVER = Pubkey.from_string("rec5EKMGg6MxZYaMdyBfgwp4d5rB9T1VQH5pJv5LtFJ")
PRICE_UPDATE_V2 = bytes.fromhex("22f123639d7ef4cd")
ERRORS = {error["code"]: error["name"] for error in IDL["errors"]}
INSTRUCTIONS = {instruction["name"]: instruction for instruction in IDL["instructions"]}
STRUCTS = {struct_["name"]: struct_["type"]["fields"] for struct_ in IDL["types"]}
DISCRIMINATORS = {
    entry["name"]: bytes(entry["discriminator"]) for entry in [*IDL["accounts"], *IDL["events"]]
}
FUND, FUND_BUMP = Pubkey.find_program_address([b"insurance_fund"], PROGRAM)
VAULT, VAULT_BUMP = Pubkey.find_program_address([b"vault"], PROGRAM)
START = 1_700_000_000
MAX = 2**64 - 1
_FORMATS = {"u8": "<B", "u16": "<H", "u64": "<Q", "i64": "<q", "bool": "<?"}


def encode(kind: Any, value: Any) -> bytes:
    """Borsh bytes of a value of an IDL type."""
    if kind == "pubkey":
        return bytes(value)
    if isinstance(kind, str):
        return struct.pack(_FORMATS[kind], value)
    if "array" in kind:
        assert len(value) == kind["array"][1]
        return b"".join(encode(kind["array"][0], element) for element in value)
    fields = STRUCTS[kind["defined"]["name"]]
    return b"".join(encode(part["type"], value[part["name"]]) for part in fields)


def decode(kind: Any, raw: bytes, at: int = 0) -> tuple[Any, int]:
    """A value of an IDL type and where it ends."""
    if kind == "pubkey":
        return Pubkey.from_bytes(raw[at : at + 32]), at + 32
    if isinstance(kind, str):
        (value,) = struct.unpack_from(_FORMATS[kind], raw, at)
        return value, at + struct.calcsize(_FORMATS[kind])
    if "array" in kind:
        elements = []
        for _ in range(kind["array"][1]):
            element, at = decode(kind["array"][0], raw, at)
            elements.append(element)
        return elements, at
    fields = {}
    for part in STRUCTS[kind["defined"]["name"]]:
        fields[part["name"]], at = decode(part["type"], raw, at)
    return fields, at


def decode_struct(name: str, raw: bytes) -> dict[str, Any]:
    """The fields of an account, event or return value; every byte must be used."""
    prefix = DISCRIMINATORS.get(name, b"")
    assert raw[: len(prefix)] == prefix
    fields: dict[str, Any]
    fields, end = decode({"defined": {"name": name}}, raw, len(prefix))
    assert end == len(raw)
    return fields


def encode_account(name: str, fields: dict[str, Any]) -> bytes:
    """The bytes of an account with its discriminator."""
    return DISCRIMINATORS[name] + encode({"defined": {"name": name}}, fields)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the VM said: `error` is a name of the IDL, another error's text, or None."""

    error: str | None
    logs: list[str]
    compute_units: int
    returned: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The one event that was logged."""
        (line,) = [line for line in self.logs if line.startswith("Program data: ")]
        return decode_struct(
            "LiquidationEvent", base64.b64decode(line.removeprefix("Program data: "))
        )


@dataclass(frozen=True, kw_only=True)
class Price:
    """A PriceUpdateV2; the defaults are a good one of 100."""

    price: int = 100_000_000
    confidence: int = 0
    exponent: int = -6
    publish_time: int = START
    feed_id: bytes = b"\x11" * 32
    verification: bytes = b"\x01"
    discriminator: bytes = PRICE_UPDATE_V2
    owner: Pubkey = RECEIVER
    length: int = 134

    def account(self) -> Account:
        body = self.discriminator + bytes(32) + self.verification + self.feed_id
        body += struct.pack("<qQiqqqQQ", self.price, self.confidence, self.exponent,
                            self.publish_time, self.publish_time, self.price, 0, 0)  # fmt: skip
        return Account(2_000_000, (body + b"\0")[: self.length], self.owner)


def market_params(**changes: Any) -> dict[str, Any]:
    """Parameters that the program accepts, with changes."""
    tiers = changes.pop("tiers", [(5, 1000), (20, 500)])
    padded = [*tiers, *[(0, 0)] * (5 - len(tiers))]
    params = {
        "symbol": b"SOL-PERP",
        "feed_id": b"\x11" * 32,
        "price_program": RECEIVER,
        "max_price_age_s": 60,
        "min_reward": 100_000,
        "min_position_notional": 10_000_000,
        "max_confidence_bps": 100,
        "liquidation_fee_bps": 100,
        "liquidator_share_bps": 5000,
        "target_health_bps": 12_000,
        **changes,
        "tiers": [{"max_leverage": most, "maintenance_bps": bps} for most, bps in padded],
    }
    return {**params, "symbol": bytes(params["symbol"]).ljust(16, b"\0")}


def token_account_body(mint: Pubkey, owner: Pubkey, amount: int, state: int = 1) -> bytes:
    return (
        bytes(mint)
        + bytes(owner)
        + struct.pack("<Q", amount)
        + bytes(36)
        + bytes([state])
        + bytes(56)
    )


@dataclass
class Person:
    """A keypair with lamports and a token account."""

    keypair: Keypair
    token: Pubkey

    @property
    def key(self) -> Pubkey:
        return self.keypair.pubkey()


@dataclass
class MarketAccounts:
    key: Pubkey
    price: Pubkey
    params: dict[str, Any]


@dataclass
class ProgramWorld:
    """One VM. `setup()` makes mint, fund and vault; markets and people come one by one."""

    svm: LiteSVM = field(
        default_factory=lambda: (
            LiteSVM().with_blockhash_check(False).with_transaction_history(0).with_sigverify(False)
        )
    )
    mint: Pubkey = field(default_factory=Pubkey.new_unique)
    people: int = 0

    def __post_init__(self) -> None:
        self.svm.add_program(PROGRAM, program_bytes())
        self.put_mint(self.mint)
        self.authority = self.person(10**15)
        self.set_time(START)

    def setup(self) -> "ProgramWorld":
        result = self.call("initialize_insurance_fund", [self.authority], self.fund_accounts())
        assert result.error is None, result.logs
        return self

    def put(self, key: Pubkey, body: bytes, owner: Pubkey = PROGRAM) -> None:
        """Plant any account."""
        self.svm.set_account(key, Account(10**9, body, owner))

    def put_mint(self, key: Pubkey, decimals: int = 6) -> None:
        self.put(
            key, bytes(36) + struct.pack("<QBB", 10**18, decimals, 1) + bytes(36), TOKEN_PROGRAM
        )

    def person(self, tokens: int = 0) -> Person:
        self.people += 1
        keypair = Keypair.from_seed(self.people.to_bytes(32, "little"))
        self.svm.airdrop(keypair.pubkey(), 10**12)
        return Person(keypair, self.token_account(keypair.pubkey(), tokens))

    def token_account(self, owner: Pubkey, amount: int = 0, mint: Pubkey | None = None) -> Pubkey:
        key = Pubkey.new_unique()
        self.put(key, token_account_body(mint or self.mint, owner, amount), TOKEN_PROGRAM)
        return key

    def set_time(self, unix_time: int, slot: int | None = None) -> None:
        clock = self.svm.get_clock()
        clock.unix_timestamp = unix_time
        if slot is not None:
            clock.slot = slot
        self.svm.set_clock(clock)

    def set_price(self, market: MarketAccounts, price: Price | int) -> None:
        """Publish: an integer is in 1e-6 quote, of the feed of the market, at the VM's time."""
        if isinstance(price, int):
            now = self.svm.get_clock().unix_timestamp
            price = Price(price=price, publish_time=now, feed_id=market.params["feed_id"])
        self.svm.set_account(market.price, price.account())

    def market(self, price: int = 100_000_000, **changes: Any) -> MarketAccounts:
        market = self.market_accounts(**changes)
        result = self.call("initialize_market", [self.authority],
                           self.market_call(market), params=market.params)  # fmt: skip
        assert result.error is None, result.logs
        self.set_price(market, price)
        return market

    @staticmethod
    def market_accounts(**changes: Any) -> MarketAccounts:
        params = market_params(**changes)
        key, _ = Pubkey.find_program_address([b"market", params["symbol"]], PROGRAM)
        return MarketAccounts(key, Pubkey.new_unique(), params)

    def position(self, owner: Person, market: MarketAccounts, number: int = 0) -> Pubkey:
        seeds = [b"position", bytes(owner.key), bytes(market.key), struct.pack("<Q", number)]
        return Pubkey.find_program_address(seeds, PROGRAM)[0]

    def fund_accounts(self) -> dict[str, Pubkey]:
        return {"authority": self.authority.key, "mint": self.mint}

    def market_call(self, market: MarketAccounts) -> dict[str, Pubkey]:
        return {
            "authority": self.authority.key,
            "market": market.key,
            "price_account": market.price,
        }

    def open_call(
        self, owner: Person, market: MarketAccounts, number: int = 0
    ) -> dict[str, Pubkey]:
        return {"owner": owner.key, "market": market.key, "price_account": market.price,
                "position": self.position(owner, market, number), "owner_token": owner.token}  # fmt: skip

    def liquidate_call(self, liquidator: Person, owner: Person, market: MarketAccounts,
                       number: int = 0) -> dict[str, Pubkey]:  # fmt: skip
        accounts = self.open_call(owner, market, number)
        return {**accounts, "liquidator": liquidator.key, "liquidator_token": liquidator.token}

    def open(self, owner: Person, market: MarketAccounts, number: int = 0, *, size: int,
             collateral: int, leverage: int = 10) -> Result:  # fmt: skip
        return self.call("open_position", [owner], self.open_call(owner, market, number),
                         id=number, size=size, collateral=collateral, leverage=leverage)  # fmt: skip

    def add(self, owner: Person, market: MarketAccounts, number: int = 0, *, amount: int) -> Result:
        return self.call(
            "add_collateral", [owner], self.open_call(owner, market, number), amount=amount
        )

    def close(self, owner: Person, market: MarketAccounts, number: int = 0) -> Result:
        return self.call("close_position", [owner], self.open_call(owner, market, number))

    def liquidate(self, liquidator: Person, owner: Person, market: MarketAccounts, number: int = 0,
                  *, max_size: int = MAX) -> Result:  # fmt: skip
        accounts = self.liquidate_call(liquidator, owner, market, number)
        return self.call("liquidate", [liquidator], accounts, max_size=max_size)

    def assess(
        self, owner: Person, market: MarketAccounts, number: int = 0, *, max_size: int = MAX
    ) -> Result:
        accounts = self.open_call(owner, market, number)
        return self.call("assess", [self.authority], accounts, max_size=max_size)

    def fund(self, amount: int) -> None:
        accounts = {"funder": self.authority.key, "funder_token": self.authority.token}
        result = self.call("fund_insurance", [self.authority], accounts, amount=amount)
        assert result.error is None, result.logs

    def update(self, market: MarketAccounts, *, paused: bool = False, **changes: Any) -> Result:
        params = {**market.params, **changes}
        return self.call("update_market", [self.authority], self.market_call(market),
                         params=params, paused=paused)  # fmt: skip

    def call(
        self, name: str, signers: list[Person], accounts: dict[str, Pubkey], **args: Any
    ) -> Result:
        return self.send([instruction(name, accounts, **args)], signers)

    def send(self, instructions: list[Instruction], signers: list[Person]) -> Result:
        """Execute one transaction; the first signer pays."""
        message = Message.new_with_blockhash(instructions, signers[0].key, Hash.default())
        signing = {person.key: person.keypair for person in signers}
        required = message.account_keys[: message.header.num_required_signatures]
        transaction = Transaction([signing[key] for key in required], message, Hash.default())
        outcome = self.svm.send_transaction(transaction)
        failed = isinstance(outcome, FailedTransactionMetadata)
        meta: Any = outcome.meta() if isinstance(outcome, FailedTransactionMetadata) else outcome
        return Result(
            error=error_name(outcome.err())
            if isinstance(outcome, FailedTransactionMetadata)
            else None,
            logs=meta.logs(),
            compute_units=meta.compute_units_consumed(),
            returned=b"" if failed else bytes(meta.return_data().data),
        )

    def raw(self, key: Pubkey) -> bytes:
        account = self.svm.get_account(key)
        return bytes(account.data) if account else b""

    def read(self, name: str, key: Pubkey) -> dict[str, Any]:
        return decode_struct(name, self.raw(key))

    def tokens(self, key: Pubkey) -> int:
        return int.from_bytes(self.raw(key)[64:72], "little")

    def exists(self, key: Pubkey) -> bool:
        account = self.svm.get_account(key)
        return account is not None and account.lamports > 0


def instruction(name: str, accounts: dict[str, Pubkey], *, flags: dict[str, tuple[bool, bool]] | None = None,
                **args: Any) -> Instruction:  # fmt: skip
    """Encode by the IDL. `flags` overrides (signer, writable) of an account."""
    described = INSTRUCTIONS[name]
    fixed = {
        "insurance_fund": FUND,
        "vault": VAULT,
        "token_program": TOKEN_PROGRAM,
        "system_program": SYSTEM_PROGRAM,
    }
    known = {**fixed, **accounts}
    metas = []
    for account in described["accounts"]:
        signer, writable = account.get("signer", False), account.get("writable", False)
        signer, writable = (flags or {}).get(account["name"], (signer, writable))
        metas.append(AccountMeta(known[account["name"]], signer, writable))
    body = b"".join(encode(arg["type"], args[arg["name"]]) for arg in described["args"])
    return Instruction(PROGRAM, bytes(described["discriminator"]) + body, metas)


def error_name(error: Any) -> str:
    """The IDL's name of a custom error, otherwise the text of the VM."""
    code = getattr(getattr(error, "err", None), "code", None)
    return str(ERRORS.get(code, error))
