"""The venue of the perpetuals program and its forks: its verdict and its instructions."""

from collections.abc import Callable, Mapping, Sequence

from solders.pubkey import Pubkey

from liqctl.core.account import (
    Account,
    Decoded,
    Gone,
    Refusal,
    Seen,
    Undecodable,
    VenueState,
)
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.position import Market, Position, Side
from liqctl.errors import LayoutError
from liqctl.venues import perpetuals_assess as judge
from liqctl.venues.logs import told_by
from liqctl.venues.outcomes import RUNTIME_OUTCOMES, TOKEN_OUTCOMES
from liqctl.venues.perpetuals_layout import (
    CUSTODY,
    DISCRIMINATOR_SIZE,
    LONG,
    NO_DISCRIMINATOR,
    NOT_DESERIALIZED,
    PERPETUALS_IDL,
    POSITION,
    SHORT,
    WRONG_DISCRIMINATOR,
    PositionRecord,
    Unreadable,
    discriminator,
    key,
    read_custody,
    read_oracle,
    read_pool,
    read_position,
    read_settings,
    shared_key,
)
from liqctl.venues.perpetuals_steps import steps
from liqctl.venues.tokens import SYSTEM_PROGRAM, associated_token_account, create_token_account

COMPUTE_UNITS = 200_000
POSITION_SIZE = DISCRIMINATOR_SIZE + POSITION.size
POSITION_SIZE_MAX = 240
CUSTODY_SIZE = DISCRIMINATOR_SIZE + CUSTODY.size
POSITION_RENT_LAMPORTS = 2_561_280
WRAPPED_SOL = "So11111111111111111111111111111111111111112"

_OUTCOMES = {
    "InvalidPositionState": Outcome.HEALTHY,
    "InstructionNotAllowed": Outcome.PAUSED,
    "CustodyAmountLimit": Outcome.NO_FUNDS,
    "UnsupportedOracle": Outcome.ORACLE,
    "InvalidOracleAccount": Outcome.ORACLE,
    "InvalidOracleState": Outcome.ORACLE,
    "StaleOraclePrice": Outcome.ORACLE,
    "InvalidOraclePrice": Outcome.ORACLE,
    "PermissionlessOracleMissingSignature": Outcome.ORACLE,
    "PermissionlessOracleMalformedEd25519Data": Outcome.ORACLE,
    "PermissionlessOracleSignerMismatch": Outcome.ORACLE,
    "PermissionlessOracleMessageMismatch": Outcome.ORACLE,
}
# Anchor's own, by code and the account that its log names. Set-up makes sure of the token
# accounts, so that a missing account without a name is the position.
_ANCHOR_OUTCOMES = {
    (3012, "position"): Outcome.GONE,
    (3012, None): Outcome.GONE,
    (3007, "position"): Outcome.GONE,
    (3007, None): Outcome.ORACLE,
    (3012, "receiving_account"): Outcome.SETUP,
    (3012, "rewards_receiving_account"): Outcome.SETUP,
}
_LAYOUT_CODES = frozenset({NO_DISCRIMINATOR, WRONG_DISCRIMINATOR, NOT_DESERIALIZED})
_NEWER = "padding is not zero: a newer version"
_CAUSED_BY = "AnchorError caused by account: "
_TOLD = {"Amount out": "payout_tokens", "Reward": "reward_tokens", "Collected fee": "fee_tokens"}


class PerpetualsVenue:
    """The perpetuals program at one address; implements the Venue port.

    A custody is the market of the positions in it; positions are sized in 1e-6 USD.
    """

    id: str = "perpetuals"

    def __init__(self, program_id: str) -> None:
        """Derive the two addresses that every instruction names.

        Raises:
            ValueError: the program id is no public key.
        """
        self.program_id = program_id
        self._program = Pubkey.from_string(program_id)
        self._settings = self._derived(b"perpetuals")
        self._authority = self._derived(b"transfer_authority")
        self._judge = judge.Judge(program_id, self._settings)
        self._kinds: Mapping[bytes, Callable[[Account], Decoded]] = {
            discriminator("Position"): _position,
            discriminator("Custody"): _market,
            discriminator("CustomOracle"): _price,
            discriminator("Perpetuals"): _state("perpetuals", read_settings),
            discriminator("Pool"): _state("pool", read_pool),
        }

    def _derived(self, *seeds: bytes) -> str:
        return str(Pubkey.find_program_address(seeds, self._program)[0])

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of positions, custodies and the program's settings."""
        names = {"position": "Position", "market": "Custody", "settings": "Perpetuals"}
        return {kind: discriminator(name) for kind, name in names.items()}

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error.

        A position without any size is one as well: the program judges it like others.
        """
        found = account.data
        if not found and account.owner == SYSTEM_PROGRAM:
            return Gone()
        if account.owner != self.program_id:
            return _undecodable(Refusal.WRONG_OWNER, f"owned by {account.owner}")
        read = self._kinds.get(found[:DISCRIMINATOR_SIZE])
        if read is None:
            head = found[:DISCRIMINATOR_SIZE].hex()
            return _undecodable(Refusal.WRONG_DISCRIMINATOR, f"starts with {head!r}")
        try:
            return read(account)
        except Unreadable as error:
            return _undecodable(error.reason, str(error))

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return both custodies, the settings, and the oracle accounts that are known."""
        custodies = dict.fromkeys((position.market, judge.collateral_of(position)))
        known = (judge.market_at(view, one) for one in custodies)
        oracles = dict.fromkeys(one.price_account for one in known if one is not None)
        return (*custodies, *oracles, self._settings)

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        market = judge.market_at(view, position.market)
        return position.market if market is None else market.symbol

    def insurance_address(self) -> str | None:
        """Return None: losses beyond the collateral are the pool's."""
        return None

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the average or spot price in 1e-6, as configured, or the word why there is none.

        Without both prices that the program reads of a custody there is none.
        """
        return self._judge.mark_price(market, view, now_s)

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the program's verdict at the cluster time `now_s`; total, never an error.

        What the program would fail with makes the verdict unknown. A paused market, a pool that
        cannot pay or a price from the future do not change it, they are blockers. Fee, reward and
        payout are token amounts valued at the lower collateral price.
        """
        return self._judge.assess(position, view, now_s)

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures of the verdict in the order of its arithmetic, for a person."""
        return steps(position, view, self.program_id, now_s)

    def bound_price_e6(
        self,
        position: Position,  # noqa: ARG002 - the port has it
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
    ) -> int | None:
        """Return None: interest, two prices and a cap move the line, so all are looked at."""
        return None

    def reported_liquidation_price_e6(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> int | None:
        """Return the price that the program reports, not the exact trigger; None while unknown."""
        return self._judge.liquidation_price(position, view, now_s)

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the instructions that liquidate the position for this liquidator.

        Both token accounts are created first where they are missing, at the liquidator's cost;
        the rent of the closed position comes back.

        Raises:
            LayoutError: the view lacks one of the custodies, or `max_size` is below the size: the
                program closes whole positions only.
        """
        if max_size is not None and max_size < position.size:
            raise LayoutError("the perpetuals program closes whole positions only")
        market, collateral = self._custodies(position, view)
        mint = judge.custody_of(collateral).mint
        owner_token = associated_token_account(position.owner, mint)
        liquidator_token = associated_token_account(liquidator, mint)
        liquidate = PERPETUALS_IDL.instruction(
            "liquidate",
            self.program_id,
            {
                **self._named(position, market, collateral),
                "signer": liquidator,
                "receiving_account": owner_token,
                "rewards_receiving_account": liquidator_token,
                "transfer_authority": self._authority,
                "collateral_custody_token_account": judge.custody_of(collateral).token_account,
            },
        )
        setup = [create_token_account(liquidator, position.owner, mint)]
        if position.owner != liquidator:
            setup.append(create_token_account(liquidator, liquidator, mint))
        return Plan(
            instructions=(*setup, liquidate),
            liquidate_index=len(setup),
            compute_units=COMPUTE_UNITS,
            creates=tuple(dict.fromkeys((owner_token, liquidator_token))),
            keeps=(liquidator_token,),
            returns_lamports=POSITION_RENT_LAMPORTS,
        )

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's `get_liquidation_state`, or None while a custody is not known.

        It returns one byte, 1 for liquidatable.
        """
        try:
            market, collateral = self._custodies(position, view)
        except LayoutError:
            return None
        named = self._named(position, market, collateral)
        return PERPETUALS_IDL.instruction("get_liquidation_state", self.program_id, named)

    def _custodies(self, position: Position, view: Mapping[str, Seen]) -> tuple[Market, Market]:
        market = judge.market_at(view, position.market)
        collateral = judge.market_at(view, judge.collateral_of(position))
        if market is None or collateral is None:
            raise LayoutError("one of the custodies is not known yet")
        return market, collateral

    def _named(self, position: Position, market: Market, collateral: Market) -> dict[str, str]:
        return {
            "perpetuals": self._settings,
            "pool": key(judge.record_of(position).pool),
            "position": position.address,
            "custody": market.address,
            "custody_oracle_account": market.price_account,
            "collateral_custody": collateral.address,
            "collateral_custody_oracle_account": collateral.price_account,
        }

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means; an unknown one is a bug.

        Anchor's codes mean different things for different accounts; its log names them.
        """
        if failure.code is None:
            return RUNTIME_OUTCOMES.get(failure.name, Outcome.BUG)
        name = PERPETUALS_IDL.errors.get(failure.code)
        if name is not None:
            return _OUTCOMES.get(name, Outcome.BUG)
        if failure.code in _LAYOUT_CODES:
            return Outcome.LAYOUT
        if failure.code in TOKEN_OUTCOMES:
            return TOKEN_OUTCOMES[failure.code]
        account = _blamed(self.program_id, failure.logs)
        return _ANCHOR_OUTCOMES.get((failure.code, account), Outcome.BUG)

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return what the program logged of a liquidation, in base units of the collateral token.

        `reward_tokens`, `payout_tokens` (to the owner) and `fee_tokens`; None when it logged no
        reward or failed afterwards. What the program does not say in USD is left out.
        """
        if any(line.startswith(f"Program {self.program_id} failed") for line in logs):
            return None
        found: dict[str, int] = {}
        for text in told_by(self.program_id, logs):
            label, _, amount = text.partition(": ")
            if label in _TOLD and amount.isdecimal():
                found[_TOLD[label]] = int(amount)
        return found if "reward_tokens" in found else None


def _position(account: Account) -> Decoded:
    blob = account.data
    if len(blob) > POSITION_SIZE_MAX:
        return _undecodable(Refusal.WRONG_LENGTH, f"Position of {len(blob)} bytes")
    if any(blob[POSITION_SIZE:]):
        return _undecodable(Refusal.ABSURD_VALUE, _NEWER)
    record = read_position(blob)
    if record.side not in {LONG, SHORT}:
        return _undecodable(Refusal.ABSURD_VALUE, f"Position: side {record.side}")
    return _position_of(account.address, record)


def _position_of(address: str, record: PositionRecord) -> Position:
    """Return a record as a position; a position opened anew has another opening time.

    Verdicts come from the record; the size beside it stays within what the store can keep.
    """
    collateral = record.collateral_usd
    return Position(
        address=address,
        owner=key(record.owner),
        market=shared_key(record.custody),
        side=Side.LONG if record.side == LONG else Side.SHORT,
        size=judge.storable(record.size_usd),
        entry_price_e6=record.price,
        collateral=collateral,
        leverage=record.size_usd // collateral if collateral else 0,
        generation=record.open_time,
        record=record,
    )


def _market(account: Account) -> Decoded:
    if any(account.data[CUSTODY_SIZE:]):
        return _undecodable(Refusal.ABSURD_VALUE, _NEWER)
    record = read_custody(account.data)
    return Market(
        address=account.address,
        symbol="SOL" if record.mint == WRAPPED_SOL else record.mint,
        price_account=record.oracle.account,
        paused=not record.allow_close,
        max_price_age_s=record.oracle.age_s_max,
        record=record,
    )


def _price(account: Account) -> Decoded:
    return read_oracle(account.address, account.owner, account.data)


def _state(kind: str, read: Callable[[bytes], object]) -> Callable[[Account], Decoded]:
    def build(account: Account) -> Decoded:
        return VenueState(address=account.address, kind=kind, record=read(account.data))

    return build


def _blamed(program_id: str, logs: Sequence[str]) -> str | None:
    """Return the account that Anchor's last error names, or None when it names none."""
    told = [text for text in told_by(program_id, logs) if text.startswith("AnchorError")]
    if not told or not told[-1].startswith(_CAUSED_BY):
        return None
    return told[-1].removeprefix(_CAUSED_BY).partition(".")[0]


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=detail)
