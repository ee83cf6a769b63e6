"""Valid inputs for every decoder."""

import base64
import json
import random
import tempfile
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from solders.keypair import Keypair

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import encode
from liqctl.chain.client import Chain
from liqctl.chain.notice import Topic
from liqctl.chain.rpc import HttpRpc
from liqctl.config import Files, load
from liqctl.core.account import Account
from liqctl.core.health import Kind
from liqctl.core.intent import Claim
from liqctl.core.position import Side
from liqctl.venues.idl import to_legacy
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.chain.scripted import ADDRESSES, PROGRAM, EvenRng, StillClock, account, in_context
from tests.fuzz.mutate import spoiled_json, spoiled_text
from tests.store import records
from tests.venues import planted
from tests.venues.program_cases import random_case

PRICE_AT = 3
CASES = 256
RAW = b"\x01" + bytes(range(64)) + b"\x80message"
SIGNATURE = encode(bytes(range(64)))
BLOCKHASH = ADDRESSES[0]
HEAD = b"\x00\x01\x02"

Call = Callable[[Chain], Coroutine[Any, Any, Any]]


@cache
def accounts(number: int) -> tuple[Account, ...]:
    """Return position, market, fund and price of one of many cases; the price comes last."""
    case = random_case(random.Random(number))
    program, receiver = planted.PROGRAM, planted.RECEIVER
    return (
        planted.seen_account(planted.POSITION, program, planted.position_bytes(case)),
        planted.seen_account(planted.MARKET, program, planted.market_bytes(case)),
        planted.seen_account(planted.FUND, program, planted.fund_bytes(case)),
        planted.seen_account(planted.PRICE, receiver, case.price_account()),
    )


_LOG = [f"Program {PROGRAM} invoke [1]", "Program log: hello", f"Program {PROGRAM} success"]
_ERRORS: list[Any] = [
    "BlockhashNotFound",
    {"InstructionError": [2, {"Custom": 6003}]},
    {"InstructionError": [0, "InvalidAccountData"]},
    {"InsufficientFundsForRent": {"account_index": 1}},
]
_SIMULATED = {
    "err": None,
    "logs": _LOG,
    "unitsConsumed": 1_000,
    "returnData": {"programId": PROGRAM, "data": ["AAEC", "base64"]},
    "accounts": [account(), None],
}
_LANDED = {
    "slot": 9,
    "transaction": [base64.b64encode(RAW).decode(), "base64"],
    "meta": {"fee": 5_000, "err": None, "logMessages": _LOG, "computeUnitsConsumed": 7},
    "blockTime": 1_700_000_000,
}
_ENTRY = {"signature": SIGNATURE, "slot": 9, "err": None, "blockTime": 1}

CALLS: dict[str, tuple[Any, Call]] = {
    "accounts": (
        in_context([account(), None]),
        lambda chain: chain.accounts(ADDRESSES[:2], min_context_slot=40),
    ),
    "program_accounts": (
        in_context([{"pubkey": one, "account": account()} for one in ADDRESSES]),
        lambda chain: chain.program_accounts(PROGRAM, HEAD, min_context_slot=50),
    ),
    "latest_blockhash": (
        in_context({"blockhash": BLOCKHASH, "lastValidBlockHeight": 150}),
        lambda chain: chain.latest_blockhash(),
    ),
    "epoch_info": (
        {"absoluteSlot": 100, "blockHeight": 90, "epoch": 0, "slotIndex": 1, "slotsInEpoch": 2},
        lambda chain: chain.epoch_info(Commitment.FINALIZED, min_context_slot=9),
    ),
    "is_blockhash_valid": (
        in_context(True),
        lambda chain: chain.is_blockhash_valid(BLOCKHASH, Commitment.FINALIZED),
    ),
    "statuses": (
        in_context(
            [
                {"slot": 9, "confirmationStatus": "finalized", "err": _ERRORS[1]},
                {"slot": 9, "confirmationStatus": "processed", "err": None, "confirmations": 3},
                None,
            ]
        ),
        lambda chain: chain.statuses([SIGNATURE] * 3),
    ),
    "signatures_for_address": (
        [_ENTRY, {**_ENTRY, "err": _ERRORS[0], "slot": 8}],
        lambda chain: chain.signatures_for_address(ADDRESSES[0]),
    ),
    "first_available_block": (5, lambda chain: chain.first_available_block()),
    "simulate": (
        in_context(_SIMULATED),
        lambda chain: chain.simulate(RAW, accounts=ADDRESSES[:2], min_context_slot=40),
    ),
    "simulate_failed": (
        in_context({**_SIMULATED, "err": _ERRORS[1], "accounts": None}),
        lambda chain: chain.simulate(RAW),
    ),
    "send": (SIGNATURE, lambda chain: chain.send(RAW, first=True, min_context_slot=1)),
    "transaction": (_LANDED, lambda chain: chain.transaction(SIGNATURE)),
    "slot": (7, lambda chain: chain.slot()),
    "balance": (in_context(7), lambda chain: chain.balance(ADDRESSES[0], min_context_slot=40)),
    "genesis_hash": (BLOCKHASH, lambda chain: chain.genesis_hash()),
    "recent_priority_fees": (
        [{"slot": 9, "prioritizationFee": 3}, {"slot": 10, "prioritizationFee": 0}],
        lambda chain: chain.recent_priority_fees(),
    ),
    "health": ("ok", lambda chain: chain.health()),
}

PREFLIGHTS = [
    None,
    *({"err": error, "logs": _LOG, "accounts": None, "unitsConsumed": 0} for error in _ERRORS),
    {"err": "AlreadyProcessed", "logs": []},
]
_REFUSAL = {"code": -32002, "message": "Transaction simulation failed", "data": PREFLIGHTS[1]}
ENVELOPES = [
    json.dumps({"jsonrpc": "2.0", "id": 7, "result": in_context([account(), None])}).encode(),
    json.dumps({"jsonrpc": "2.0", "id": 7, "error": _REFUSAL}).encode(),
]


def _frame(method: str, result: object) -> bytes:
    params = {"subscription": 4, "result": result}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


_KEYED = {"pubkey": ADDRESSES[1], "account": account()}
NOTICES = [
    (_frame("slotNotification", {"slot": 7, "parent": 6, "root": 1}), Topic("slotSubscribe")),
    (
        _frame("accountNotification", in_context(account())),
        Topic("accountSubscribe", address=ADDRESSES[0]),
    ),
    (_frame("programNotification", in_context(_KEYED)), Topic("programSubscribe", PROGRAM, HEAD)),
    (json.dumps({"jsonrpc": "2.0", "id": 1, "result": 4}).encode(), Topic("slotSubscribe")),
]


@cache
def idls() -> tuple[dict[str, Any], ...]:
    """Return one interface in the newer and in the older format."""
    return REFERENCE_IDL.raw, to_legacy(REFERENCE_IDL.raw)


def _event() -> str:
    layout = REFERENCE_IDL.type_layout("LiquidationEvent")
    blob = REFERENCE_IDL.event_discriminator("LiquidationEvent") + bytes(layout.size)
    return base64.b64encode(blob).decode()


_OURS, _TOKEN = str(REFERENCE_IDL.address), "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
LOGS = (
    (
        f"Program {_OURS} invoke [1]",
        "Program log: liquidate",
        f"Program {_TOKEN} invoke [2]",
        f"Program data: {_event()}",
        f"Program {_TOKEN} success",
        f"Program data: {_event()}",
        f"Program {_OURS} consumed 1 of 2 compute units",
        f"Program {_OURS} success",
    ),
    (f"Program {_OURS} invoke [1]", f"Program {_OURS} failed: custom program error: 0x1773"),
)

KEY = json.dumps(list(bytes(Keypair.from_seed(bytes(range(32)))))).encode()

SNAPSHOT = {
    "liquidator": ADDRESSES[0],
    "liquidate_index": 2,
    "owner": ADDRESSES[1],
    "side": Side.LONG,
    "size": 10,
    "symbol": "SOL-PERP",
    "kind": Kind.FULL,
    "close_size": 10,
    "price_e6": 150_000_000,
    "reward": 5,
    "fund_delta": -1,
    "bad_debt_covered": 1,
    "bad_debt_uncovered": 0,
    "health": 0.5,
}
ATTEMPT = records.attempt(
    Claim(intent_id=1, key="k", owner="me", fence=1, attempts=0), signature=SIGNATURE
)


@cache
def rpc() -> HttpRpc:
    """Return an endpoint that is never called."""
    return HttpRpc("http://127.0.0.1:1/key?api-key=TOPSECRET", StillClock(), EvenRng())


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="liqctl-fuzz-")


_TOML = """rpc_url = "https://api.example.org/?key=1"
check_interval_ms = 2000
markets_allow = ["SOL-PERP"]
log_level = "info,liqctl.chain=debug"
max_fee_lamports = 200000
database_url = "sqlite:liqctl.db"
"""
_YAML = """---
json_rpc_url: http://127.0.0.1:8899
websocket_url: ''
keypair_path: /home/me/id.json
commitment: confirmed
"""
_ENV = """# mine
SOLANA_RPC_URL=https://api.example.org
LIQCTL_MAX_IN_FLIGHT='4'
export RUST_LOG="info"
"""
_VALUES: dict[str, Any] = {
    "rpc_url": "https://api.example.org",
    "ws_url": "wss://api.example.org",
    "max_retries": 3,
    "min_balance_lamports": "5",
    "commitment": "confirmed",
    "program_id": PROGRAM,
    "markets_deny": "BTC,ETH",
    "log_level": "warn",
}


def settings(chance: random.Random) -> None:
    """Load settings of which one source is spoiled.

    Raises:
        SettingsError: they are refused.
    """
    folder = Path(_folder().name)
    missing = folder / "missing"
    options: dict[str, object] = {}
    own, solana, env_file = missing, missing, None
    match chance.randrange(4):
        case 0:
            own = _written(folder / "liqctl.toml", _TOML, chance)
        case 1:
            solana = _written(folder / "config.yml", _YAML, chance)
        case 2:
            env_file = _written(folder / ".env", _ENV, chance)
        case _:
            spoiled = spoiled_json(_VALUES, chance)
            if isinstance(spoiled, dict):
                options = {name: spoiled.get(name) for name in _VALUES}
    load(options, {}, Files(env_file=env_file, own=(own,), solana=solana))


def _written(path: Path, valid: str, chance: random.Random) -> Path:
    text = valid
    for _ in range(chance.choice((1, 1, 2, 4))):
        text = spoiled_text(text, chance)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path
