"""What stands on the chain before the first trade: program, mint, token accounts, fund, markets."""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solders.instruction import AccountMeta as WireMeta
from solders.instruction import Instruction as WireInstruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from liqctl.core.instruction import Instruction
from liqctl.errors import InvariantError
from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.markets import MarketSpec
from liqctl.localnet.program import program_bytes
from liqctl.localnet.spl_token import TOKEN_PROGRAM
from liqctl.localnet.world import Dropped, World
from liqctl.oracle.price_update import RECEIVER_CLASSIC
from liqctl.venues.reference_layout import REFERENCE_IDL, TIERS
from liqctl.venues.tokens import SYSTEM_PROGRAM, associated_token_account

PROGRAM_ID = str(REFERENCE_IDL.address)
QUOTE_DECIMALS = 6
QUOTE_UNIT = 10**QUOTE_DECIMALS
SOL_LAMPORTS = 10**9
_MINT = struct.Struct("<36xQBB36x")
_TOKEN_ACCOUNT = struct.Struct("<32s32sQ36xB56x")
_INITIALIZED = 1
_AUTHORITY_LAMPORTS = 100 * SOL_LAMPORTS

_RULES: Mapping[str, object] = {
    "price_program": RECEIVER_CLASSIC,
    "max_price_age_s": 60,
    "min_reward": QUOTE_UNIT // 4,
    "min_position_notional": 50 * QUOTE_UNIT,
    "max_confidence_bps": 100,
    "liquidation_fee_bps": 50,
    "liquidator_share_bps": 5_000,
    "target_health_bps": 15_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the parts of the reference program are, in base58."""

    program: str
    mint: str
    insurance_fund: str
    vault: str
    markets: Mapping[str, str]


def key_of(seed: int, role: str) -> Keypair:
    """Return the key of a part of the scenario; one seed and role give one key."""
    return Keypair.from_seed(hashlib.sha256(f"liqctl localnet {seed} {role}".encode()).digest())


def addresses_of(seed: int, specs: Sequence[MarketSpec], program: str = PROGRAM_ID) -> Addresses:
    """Return all addresses of a scenario; only the mint depends on the seed."""

    def derived(*seeds: bytes) -> str:
        return str(Pubkey.find_program_address(seeds, Pubkey.from_string(program))[0])

    return Addresses(
        program=program,
        mint=str(key_of(seed, "mint").pubkey()),
        insurance_fund=derived(b"insurance_fund"),
        vault=derived(b"vault"),
        markets={spec.symbol: derived(b"market", _symbol_bytes(spec)) for spec in specs},
    )


class Genesis:
    """Puts the parts of a scenario into a new chain."""

    def __init__(
        self,
        world: World,
        seed: int,
        specs: Sequence[MarketSpec],
        program: str = PROGRAM_ID,
    ) -> None:
        """Nothing is written yet; the program can be deployed at any address."""
        self.addresses = addresses_of(seed, specs, program)
        self._world = world
        self._specs = specs
        self._authority = key_of(seed, "authority")
        self._supply = 0

    def give(self, owner: Pubkey, *, lamports: int, tokens: int) -> None:
        """Plant a wallet and its associated token account; no faucet transaction is recorded."""
        mint = self.addresses.mint
        body = _TOKEN_ACCOUNT.pack(
            bytes(Pubkey.from_string(mint)), bytes(owner), tokens, _INITIALIZED
        )
        self._plant(associated_token_account(str(owner), mint), body)
        self._world.set_account(owner, AccountState(lamports=lamports))
        self._supply += tokens

    def found(self, insurance: int) -> None:
        """Deploy the program and set up mint, insurance fund and markets by real transactions.

        `insurance` is the first balance of the fund in 1e-6 quote. Every `give` comes before,
        because the supply of the mint is fixed here.
        """
        self._world.add_program(Pubkey.from_string(self.addresses.program), program_bytes())
        authority = self._authority.pubkey()
        self.give(authority, lamports=_AUTHORITY_LAMPORTS, tokens=insurance)
        self._plant(self.addresses.mint, _MINT.pack(self._supply, QUOTE_DECIMALS, _INITIALIZED))
        wallet = associated_token_account(str(authority), self.addresses.mint)
        own = {"authority": str(authority), "funder": str(authority), "funder_token": wallet}
        self._call("initialize_insurance_fund", own, {})
        self._call("fund_insurance", own, {"amount": insurance})
        for spec in self._specs:
            market = self.addresses.markets[spec.symbol]
            accounts = {**own, "market": market, "price_account": str(spec.price_account)}
            self._call("initialize_market", accounts, {"params": _market_params(spec)})

    def _call(self, name: str, accounts: Mapping[str, str], args: Mapping[str, object]) -> None:
        send(self._world, [call(self.addresses, name, accounts, args)], self._authority)

    def _plant(self, address: str, body: bytes) -> None:
        lamports = self._world.minimum_balance(len(body))
        state = AccountState(lamports=lamports, data=body, owner=TOKEN_PROGRAM)
        self._world.set_account(Pubkey.from_string(address), state)


def call(
    addresses: Addresses, name: str, accounts: Mapping[str, str], args: Mapping[str, object]
) -> Instruction:
    """Return a call of the reference program; the accounts that all calls share are filled in."""
    shared = {
        "insurance_fund": addresses.insurance_fund,
        "vault": addresses.vault,
        "mint": addresses.mint,
        "token_program": str(TOKEN_PROGRAM),
        "system_program": SYSTEM_PROGRAM,
    }
    return REFERENCE_IDL.instruction(name, addresses.program, {**shared, **accounts}, args)


def send(world: World, instructions: Sequence[Instruction], *signers: Keypair) -> Landed:
    """Return a transaction of our own that landed; the first signer pays. One that fails is a bug."""
    answer = try_to_send(world, instructions, *signers)
    if isinstance(answer, Dropped) or answer.failure is not None:
        logs = answer.execution.logs if isinstance(answer, Landed) else ()
        text = "\n".join([str(answer.failure), *logs])
        raise InvariantError(f"a transaction of the scenario failed: {text}")
    return answer


def try_to_send(
    world: World, instructions: Sequence[Instruction], *signers: Keypair
) -> Landed | Dropped:
    """Sign and submit a transaction, and return what became of it; the first signer pays."""
    wire = [_wire(instruction) for instruction in instructions]
    message = MessageV0.try_compile(signers[0].pubkey(), wire, [], world.latest_blockhash())
    return world.submit(VersionedTransaction(message, list(signers)), verified=True)


def _wire(instruction: Instruction) -> WireInstruction:
    metas = [
        WireMeta(Pubkey.from_string(meta.address), meta.signer, meta.writable)
        for meta in instruction.accounts
    ]
    return WireInstruction(Pubkey.from_string(instruction.program), instruction.data, metas)


def _symbol_bytes(spec: MarketSpec) -> bytes:
    return spec.symbol.encode().ljust(16, b"\0")


def _market_params(spec: MarketSpec) -> Mapping[str, object]:
    tiers = [*spec.tiers, *[(0, 0)] * (TIERS - len(spec.tiers))]
    return {
        **_RULES,
        "symbol": _symbol_bytes(spec),
        "feed_id": spec.feed,
        "tiers": [{"max_leverage": most, "maintenance_bps": bps} for most, bps in tiers],
    }
