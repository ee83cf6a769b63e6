"""The venue of the Adrena program: an estimate of the verdict, the program's own view, the plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from solders.pubkey import Pubkey

from liqctl.core.account import Account, Decoded, Gone, Refusal, Seen, Undecodable, VenueState
from liqctl.core.fixed import I64_MAX
from liqctl.core.health import Assessment
from liqctl.core.instruction import AccountMeta, Failure, Instruction, Outcome, Plan
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading
from liqctl.errors import LayoutError
from liqctl.venues import adrena_assess as judge
from liqctl.venues.adrena_layout import (
    ADRENA_IDL,
    HEAD,
    LONG,
    CustodyRecord,
    ProfileRecord,
    Unreadable,
    kind_of,
    read_custody,
    read_oracle,
    read_pool,
    read_position,
    read_profile,
)
from liqctl.venues.adrena_verdict import E6_PER_PRICE
from liqctl.venues.anchor_errors import framework_outcome
from liqctl.venues.logs import logged_by
from liqctl.venues.tokens import (
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    associated_token_account,
    create_token_account,
)

POSITION_RENT_LAMPORTS = 4_120_320
COMPUTE_UNITS = {Side.LONG: 355_000, Side.SHORT: 256_000}
# Prices that the caller brings along would stand here; they come from private feeds.
_NO_PRICES = {"price_batches": b"\0\0"}

_OUTCOMES = {
    "PositionNotInLiquidationRange": Outcome.HEALTHY,
    "PositionAlreadyClosed": Outcome.GONE,
    "InvalidOracleAccount": Outcome.ORACLE,
    "InvalidOracleState": Outcome.ORACLE,
    "StaleOraclePrice": Outcome.ORACLE,
    "InvalidOraclePrice": Outcome.ORACLE,
    "MissingOraclePrice": Outcome.ORACLE,
    "CustodyAmountLimit": Outcome.NO_FUNDS,
    "InstructionNotAllowed": Outcome.PAUSED,
    "MarketIsClosed": Outcome.PAUSED,
    "MarketStockSpecialEvent": Outcome.PAUSED,
    "LiquidationPausedNoBackupOracle": Outcome.PAUSED,
    "LiquidationPausedCircuitBreaker": Outcome.PAUSED,
    "MissingOrInvalidReferrerAccount": Outcome.SETUP,
}


class AdrenaVenue:
    """The Adrena program at one address; implements the Venue port.

    A custody is the market of the positions in it; positions are sized in 1e-6 USD. The verdict is
    an estimate, and `confirmation` decides. Liquidators get no fee, only the position's rent.
    """

    id: str = "adrena"

    def __init__(self, program_id: str) -> None:
        """Derive the addresses that every instruction names.

        Raises:
            ValueError: the program id is no public key.
        """
        self.program_id = program_id
        self._program = Pubkey.from_string(program_id)
        self._cortex = self._derived(b"cortex")
        self._oracle = self._derived(b"oracle")
        self._authority = self._derived(b"transfer_authority")
        self._judge = judge.Judge(self._oracle, program_id)
        self._kinds: Mapping[str, Callable[[Account], Decoded]] = {
            "Position": _position,
            "Custody": self._market,
            "Pool": _state("pool", read_pool),
            "Oracle": _state("oracle", read_oracle),
            "Cortex": _state("cortex", lambda _blob: None),
            "UserProfile": _state("user_profile", read_profile),
        }

    def _derived(self, *seeds: bytes) -> str:
        return str(Pubkey.find_program_address(seeds, self._program)[0])

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of positions, custodies and pools."""
        kinds = {"position": "Position", "market": "Custody", "pool": "Pool"}
        return {kind: ADRENA_IDL.account_discriminator(name) for kind, name in kinds.items()}

    def demanded(self) -> tuple[str, ...]:
        """Return the accounts that must be there, and of this version, before anything begins."""
        return (self._cortex, self._oracle)

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error.

        A position without any size waits to be cleaned up; it counts as gone.
        """
        if not account.data and account.owner == SYSTEM_PROGRAM:
            return Gone()
        if account.owner != self.program_id:
            detail = f"owned by {account.owner}"
            return Undecodable(reason=Refusal.WRONG_OWNER, detail=detail)
        try:
            return self._kinds[kind_of(account.data)](account)
        except Unreadable as error:
            return Undecodable(reason=error.reason, detail=str(error))

    def _market(self, account: Account) -> Decoded:
        record = read_custody(account.data)
        return Market(
            address=account.address,
            symbol=record.name.removesuffix("USD") or record.name or record.mint,
            price_account=self._oracle,
            paused=False,
            max_price_age_s=judge.STALENESS_S,
            record=record,
        )

    def dependencies(
        self,
        position: Position,
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
    ) -> tuple[str, ...]:
        """Return both custodies, the pool, the oracle, and the owner's profile."""
        record = judge.record_of(position)
        custodies = dict.fromkeys((record.custody, record.collateral_custody))
        return (*custodies, record.pool, self._oracle, self._profile_of(record.owner))

    def _profile_of(self, owner: str) -> str:
        return self._derived(b"user_profile", bytes(Pubkey.from_string(owner)))

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        market = judge.market_at(view, position.market)
        return position.market if market is None else market.symbol

    def insurance_address(self) -> str | None:
        """Return None: losses beyond the collateral are the pool's."""
        return None

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the trade price in 1e-6, or the word why there is none."""
        return self._judge.mark_price(market, view, now_s)

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return an estimate of the verdict at the cluster time `now_s`; total, never an error.

        It is not exact: before anything is sent the program's own view has to agree.
        """
        return self._judge.assess(position, view, now_s)

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures of the estimate in the order of its arithmetic, for a person."""
        return self._judge.steps(position, view, now_s)

    def bound_price_e6(
        self,
        position: Position,  # noqa: ARG002 - the port has it
        view: Mapping[str, Seen],  # noqa: ARG002 - the port has it
    ) -> int | None:
        """Return None: interest, funding and a cap move the line, so all are looked at."""
        return None

    def reading_of(self, market: Market, view: Mapping[str, Seen]) -> PriceReading | None:
        """Return the published price of a market out of the one oracle account."""
        return self._judge.reading_of(market, view)

    def with_reading(
        self, market: Market, view: Mapping[str, Seen], reading: PriceReading
    ) -> Mapping[str, Seen]:
        """Return the view with another price of a market."""
        return self._judge.with_reading(market, view, reading)

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the instructions that liquidate the position for this liquidator.

        The owner's token account is created first where it is missing, at the liquidator's cost;
        the rent of the closed position is all that comes back.

        Raises:
            LayoutError: the view lacks one of the custodies, or `max_size` is below the size: the
                program closes whole positions only.
        """
        if max_size is not None and max_size < position.size:
            raise LayoutError("the Adrena program closes whole positions only")
        collateral = self._collateral(position, view)
        owner_token = associated_token_account(position.owner, collateral.mint)
        name = "liquidate_long" if position.side is Side.LONG else "liquidate_short"
        call = ADRENA_IDL.instruction(
            name,
            self.program_id,
            {
                **self._named(position),
                **self._profiles(position, view),
                "signer": liquidator,
                "receiving_account": owner_token,
                "transfer_authority": self._authority,
                "collateral_custody_token_account": collateral.token_account,
                "token_program": TOKEN_PROGRAM,
                "adrena_program": self.program_id,
                "system_program": SYSTEM_PROGRAM,
            },
            _NO_PRICES,
        )
        return Plan(
            instructions=(
                create_token_account(liquidator, position.owner, collateral.mint),
                self._without_locks_on_nothing(call),
            ),
            liquidate_index=1,
            compute_units=COMPUTE_UNITS[position.side],
            creates=(owner_token,),
            keeps=(owner_token,) if position.owner == liquidator else (),
            returns_lamports=POSITION_RENT_LAMPORTS,
        )

    def _profiles(self, position: Position, view: Mapping[str, Seen]) -> dict[str, str]:
        """Return both profiles; an absent one is written as the program itself."""
        address = self._profile_of(position.owner)
        value = judge.value_at(view, address)
        record = value.record if isinstance(value, VenueState) else None
        if not isinstance(record, ProfileRecord):
            return {"user_profile": self.program_id, "referrer_profile": self.program_id}
        return {"user_profile": address, "referrer_profile": record.referrer or self.program_id}

    def _without_locks_on_nothing(self, call: Instruction) -> Instruction:
        """Return a call whose absent accounts are read only, as the program itself must be."""
        metas = (
            AccountMeta(self.program_id) if meta.address == self.program_id else meta
            for meta in call.accounts
        )
        return replace(call, accounts=tuple(metas))

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's `get_liquidation_state`, or None while a custody is not known.

        It returns one byte, 1 for liquidatable.
        """
        try:
            self._collateral(position, view)
        except LayoutError:
            return None
        return ADRENA_IDL.instruction(
            "get_liquidation_state", self.program_id, self._named(position), _NO_PRICES
        )

    def _collateral(self, position: Position, view: Mapping[str, Seen]) -> CustodyRecord:
        market = judge.market_at(view, position.market)
        collateral = judge.market_at(view, judge.record_of(position).collateral_custody)
        if market is None or collateral is None:
            raise LayoutError("one of the custodies is not known yet")
        return judge.custody_of(collateral)

    def _named(self, position: Position) -> dict[str, str]:
        record = judge.record_of(position)
        return {
            "cortex": self._cortex,
            "pool": record.pool,
            "position": position.address,
            "custody": record.custody,
            "oracle": self._oracle,
            "collateral_custody": record.collateral_custody,
        }

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means; an unknown one is a bug."""
        name = None if failure.code is None else ADRENA_IDL.errors.get(failure.code)
        if name is not None:
            return _OUTCOMES.get(name, Outcome.BUG)
        found = framework_outcome(failure, positions=("position",), tokens=("receiving_account",))
        return Outcome.BUG if found is None else found

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return size (1e-6 USD) and price (1e-6) of the program's LiquidateEvent, or None.

        Nothing counts if the program failed afterwards. There is no reward, and always all is
        closed.
        """
        if any(line.startswith(f"Program {self.program_id} failed") for line in logs):
            return None
        head = ADRENA_IDL.event_discriminator("LiquidateEvent")
        layout = ADRENA_IDL.event_layout("LiquidateEvent")
        for blob in logged_by(self.program_id, logs):
            if blob.startswith(head) and len(blob) == len(head) + layout.size:
                read = layout.read(blob, HEAD)
                return {
                    "closed_size": min(read["size_usd"], I64_MAX),
                    "price": read["price"] // E6_PER_PRICE,
                    "reward": 0,
                    "is_full": 1,
                }
        return None


def _position(account: Account) -> Decoded:
    record = read_position(account.data)
    if record.size_usd == 0:
        return Gone()
    collateral = record.collateral_usd
    return Position(
        address=account.address,
        owner=record.owner,
        market=record.custody,
        side=Side.LONG if record.side == LONG else Side.SHORT,
        size=min(record.size_usd, I64_MAX),
        entry_price_e6=record.price // E6_PER_PRICE,
        collateral=collateral,
        leverage=record.size_usd // collateral if collateral else 0,
        generation=record.open_time,
        record=record,
    )


def _state(kind: str, read: Callable[[bytes], object]) -> Callable[[Account], Decoded]:
    def build(account: Account) -> Decoded:
        return VenueState(address=account.address, kind=kind, record=read(account.data))

    return build
