"""The venue of a user's own program: described by its IDL and a mapping file."""

from collections.abc import Mapping, Sequence
from typing import Any

from solders.pubkey import Pubkey

from liqctl.core.account import Account, Decoded, Gone, Refusal, Seen, Undecodable, VenueState
from liqctl.core.fixed import I64_MIN, U64_MAX
from liqctl.core.health import Assessment
from liqctl.core.instruction import Failure, Instruction, Outcome, Plan
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading, PriceSource
from liqctl.errors import LayoutError
from liqctl.venues import reference_verdict as common
from liqctl.venues.anchor_errors import framework_outcome
from liqctl.venues.logs import logged_by
from liqctl.venues.mapped_verdict import E6, FundState, Judge, Lookups, scaled
from liqctl.venues.mapping import AccountMap, VenueMap
from liqctl.venues.mapping_calls import Call
from liqctl.venues.mapping_outcomes import MONEY
from liqctl.venues.mapping_places import (
    MARKET,
    POSITION,
    PRICE,
    Field,
    Lookup,
    Role,
    TokenAccount,
)
from liqctl.venues.tokens import SYSTEM_PROGRAM, create_token_account


class MappedVenue:
    """A program that a mapping describes; implements the Venue port."""

    def __init__(self, mapped: VenueMap, program_id: str) -> None:
        """Take the mapping, and where the program is.

        Raises:
            ValueError: the program id is no public key.
        """
        Pubkey.from_string(program_id)
        self.id = mapped.name
        self.program_id = program_id
        self.mapped = mapped
        self._lookup = Lookups(mapped, program_id)
        self._judge = Judge(mapped, self._lookup)
        self._fund: str | None = None
        if mapped.insurance is not None:
            self._fund = self._constant(mapped.insurance.role)

    def _constant(self, name: str) -> str:
        return self._lookup({}).address(self.mapped.places[name])

    def discriminators(self) -> Mapping[str, bytes]:
        """Return the first bytes of each kind of account that the mapping names, price apart."""
        return {one.role: one.head for one in self.mapped.accounts if one.role != PRICE}

    def decode(self, account: Account) -> Decoded:
        """Return what an account of the program is; Undecodable with a reason, never an error.

        A position of size zero, or that a mapped flag says is not open, counts as closed.
        """
        found = account.data
        if not found and account.owner == SYSTEM_PROGRAM:
            return Gone()
        if account.owner != self.program_id:
            return _undecodable(Refusal.WRONG_OWNER, f"owned by {account.owner}")
        kind = next((one for one in self.mapped.accounts if found.startswith(one.head)), None)
        if kind is None:
            head = found[:8].hex()
            return _undecodable(Refusal.WRONG_DISCRIMINATOR, f"starts with {head!r}")
        try:
            read = self._read(kind, found)
        except LayoutError as error:
            return _undecodable(Refusal.WRONG_LENGTH, str(error))
        try:
            return self._built(kind, account, read)
        except LayoutError as error:
            return _undecodable(Refusal.ABSURD_VALUE, f"{kind.account}: {error}")

    def _read(self, kind: AccountMap, data: bytes) -> dict[str, Any]:
        """Return the fields of an account; a length of another version is refused.

        Raises:
            LayoutError: the bytes are no such account.
        """
        size = self.mapped.idl.account_size(kind.account)
        if size is not None and not size <= len(data) <= size + kind.extra:
            raise LayoutError(f"{kind.account} of {len(data)} bytes, expected {size}")
        if size is not None and any(data[size:]):
            raise LayoutError(f"{kind.account} has bytes behind its fields: a newer version")
        return self.mapped.idl.read(kind.account, data)

    def _built(self, kind: AccountMap, account: Account, read: dict[str, Any]) -> Decoded:
        for path in kind.zero:
            value = read[path]
            if any(value) if isinstance(value, bytes) else value:
                raise LayoutError(f"{path} is not zero: a newer version")
        match kind.role:
            case "position":
                return self._position(account, read)
            case "market":
                return self._market(account, read)
            case "price":
                return self._price(account, read)
            case role if self.mapped.insurance is not None and role == self.mapped.insurance.role:
                return self._insurance(account, read)
            case role:
                return VenueState(address=account.address, kind=role, record=read)

    def _position(self, account: Account, read: dict[str, Any]) -> Position | Gone:
        fields, scales = self.mapped.position, self.mapped.scales
        size = int(read[fields.size.path])
        if size == 0 or (fields.open is not None and not read[fields.open.path]):
            return Gone()
        if size == I64_MIN:
            raise LayoutError(f"size {size}")
        leverage = 0 if fields.leverage is None else int(read[fields.leverage.path])
        if fields.leverage is not None and leverage == 0:
            raise LayoutError("leverage 0")
        entry, collateral = (int(read[f.path]) for f in (fields.entry_price, fields.collateral))
        return Position(
            address=account.address,
            owner=_key(read, fields.owner),
            market=_key(read, fields.market),
            side=self._side(read),
            size=abs(size),
            entry_price_e6=scaled(entry, scales.price, E6),
            collateral=scaled(collateral, scales.quote, E6),
            leverage=leverage,
            generation=0 if fields.generation is None else int(read[fields.generation.path]),
            record=read,
        )

    def _side(self, read: dict[str, Any]) -> Side:
        side = self.mapped.position.side
        value = int(read[side.field.path])
        if side.long is None:
            return Side.LONG if value > 0 else Side.SHORT
        if value not in {side.long, side.short}:
            raise LayoutError(f"{side.field.path} is {value}, neither long nor short")
        return Side.LONG if value == side.long else Side.SHORT

    def _market(self, account: Account, read: dict[str, Any]) -> Market:
        fields = self.mapped.market
        bare = Market(
            address=account.address,
            symbol="",
            price_account="",
            paused=False,
            max_price_age_s=0,
            record=read,
        )
        lookup = self._lookup({}, market=bare)
        age = self.mapped.price.age_s_max
        return Market(
            address=account.address,
            symbol=self._symbol(account.address, read),
            price_account=lookup.address(fields.price_account),
            paused=fields.paused is not None and bool(read[fields.paused.path]),
            max_price_age_s=_known(age, read),
            bound_terms=self._terms(read),
            record=read,
        )

    def _terms(self, read: dict[str, Any]) -> object:
        """Return what of the market liquidation prices depend on."""
        rule = self.mapped.maintenance
        match None if rule is None else rule.ratio:
            case Field(role="market", path=path):
                return read[path]
            case int() | None:
                return None
            case _:
                return tuple(sorted((k, v) for k, v in read.items() if isinstance(v, int)))

    def _symbol(self, address: str, read: dict[str, Any]) -> str:
        named = self.mapped.market.symbols.get(address)
        field = self.mapped.market.symbol
        if named is not None or field is None:
            return named or address
        value = read[field.path]
        text = (
            value.rstrip(b"\0").decode("utf-8", "backslashreplace")
            if isinstance(value, bytes)
            else str(value)
        )
        return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")

    def _price(self, account: Account, read: dict[str, Any]) -> PriceReading:
        rules = self.mapped.price
        exponent = rules.exponent
        return PriceReading(
            address=account.address,
            owner=account.owner,
            feed_id="",
            mantissa=_whole(read, rules.price),
            exponent=int(read[exponent.path]) if isinstance(exponent, Field) else exponent,
            confidence=_whole(read, rules.confidence),
            publish_time=_whole(read, rules.publish_time),
            fully_verified=True,
            posted_slot=0,
            source=PriceSource.CUSTOM,
        )

    def _insurance(self, account: Account, read: dict[str, Any]) -> FundState:
        fields = self.mapped.insurance
        if fields is None:
            raise LayoutError("no fund is mapped")
        quote = self.mapped.scales.quote
        return FundState(
            address=account.address,
            balance=scaled(_whole(read, fields.balance), quote, E6),
            bad_debt_covered=scaled(_whole(read, fields.covered), quote, E6),
            bad_debt_uncovered=scaled(_whole(read, fields.uncovered), quote, E6),
            liquidation_count=_whole(read, fields.count),
            mint=_key(read, fields.mint) if fields.mint is not None else "",
            vault=_key(read, fields.vault) if fields.vault is not None else "",
            record=read,
        )

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return the market, the price account once the market is known, and named accounts."""
        market = common.market_of(position, view)
        prices = () if market is None else (market.price_account,)
        lookup = self._lookup(view, position=position)
        named = []
        for one in self.mapped.accounts:
            if one.role not in {POSITION, MARKET, PRICE}:
                address = lookup.addresses(one.role)
                named += [address] if address is not None else []
        return (position.market, *prices, *named)

    def symbol(self, position: Position, view: Mapping[str, Seen]) -> str:
        """Return the market's symbol, or the market's address when it is not known yet."""
        market = common.market_of(position, view)
        return position.market if market is None else market.symbol

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict of the mapped rule at the cluster time `now_s`; total.

        Without a rule, or with one that the mapping does not claim to be exact, it stays unknown;
        health is shown all the same.
        """
        return self._judge.assess(position, view, now_s)

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price in 1e-6 that verdicts of the market use, or the word why there is none."""
        price = self._judge.price(market, view, now_s)
        return price if isinstance(price, str) else scaled(price, self.mapped.scales.price, E6)

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price that the liquidation price cannot lie beyond, or None for none known."""
        return self._judge.bound_price_e6(position, view)

    def plan(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidator: str,
        *,
        max_size: int | None = None,
    ) -> Plan:
        """Return the mapped instruction, token accounts first that it says are to be created.

        Raises:
            LayoutError: the venue is watch-only, or an account that an address is made of is not
                known.
        """
        call = self.mapped.liquidate
        if call is None or self.mapped.why_not is not None:
            raise LayoutError(f"{self.id} can only be watched: {self.mapped.why_not}")
        lookup = self._lookup(view, position=position, signer=liquidator)
        setup, creates, keeps = _set_up(call, lookup, liquidator)
        liquidate = call.instruction(lookup, U64_MAX if max_size is None else max_size)
        return Plan(
            instructions=(*setup, liquidate),
            liquidate_index=len(setup),
            compute_units=call.compute_units,
            creates=tuple(creates),
            keeps=tuple(keeps),
        )

    def confirmation(self, position: Position, view: Mapping[str, Seen]) -> Instruction | None:
        """Return the program's own view of the verdict, or None where the mapping has none."""
        call = self.mapped.confirm
        if call is None:
            return None
        try:
            return call.instruction(self._lookup(view, position=position), U64_MAX)
        except LayoutError:
            return None

    def classify(self, failure: Failure) -> Outcome:
        """Return what a failure of the liquidate instruction means; an unknown one is a bug."""
        if failure.code is not None and failure.code in self.mapped.outcomes:
            return self.mapped.outcomes[failure.code]
        call = self.mapped.liquidate
        accounts = {} if call is None else call.accounts
        found = framework_outcome(
            failure,
            positions=[name for name, place in accounts.items() if place == Role(POSITION)],
            tokens=[name for name, place in accounts.items() if isinstance(place, TokenAccount)],
        )
        return Outcome.BUG if found is None else found

    def effects(self, logs: Sequence[str]) -> Mapping[str, int] | None:
        """Return the mapped figures of the program's event, or None when it says nothing.

        Without a mapped event a run of the instruction that did not fail gives no figures, but is
        one. Only what this program logged itself counts.
        """
        if any(line.startswith(f"Program {self.program_id} failed") for line in logs):
            return None
        event = self.mapped.event
        if event is None:
            return {} if self._ran(logs) else None
        layout = self.mapped.idl.event_layout(event.name)
        for blob in logged_by(self.program_id, logs):
            if blob.startswith(event.head) and len(blob) == len(event.head) + layout.size:
                try:
                    read = layout.read(blob, len(event.head))
                except LayoutError:
                    continue
                return {name: self._shown(name, read[path]) for name, path in event.fields.items()}
        return None

    def _shown(self, name: str, value: int) -> int:
        scales = self.mapped.scales
        if name in MONEY:
            return scaled(value, scales.quote, E6)
        return scaled(value, scales.price, E6) if name == "price" else value

    def _ran(self, logs: Sequence[str]) -> bool:
        call = self.mapped.liquidate
        name = "" if call is None else "".join(part.capitalize() for part in call.name.split("_"))
        return f"Program log: Instruction: {name}" in logs

    def insurance_address(self) -> str | None:
        """Return the address of the insurance fund, or None where none is mapped."""
        return self._fund


def _set_up(
    call: Call, lookup: Lookup, liquidator: str
) -> tuple[list[Instruction], list[str], list[str]]:
    """Return the set-up instructions, what they create, and which of these are the liquidator's."""
    setup: dict[str, Instruction] = {}
    keeps = []
    for place in call.token_accounts():
        address, owner = lookup.address(place), lookup.address(place.owner)
        if address in setup:
            continue
        setup[address] = create_token_account(
            liquidator, owner, lookup.address(place.mint), lookup.address(place.token_program)
        )
        if owner == liquidator:
            keeps.append(address)
    return list(setup.values()), list(setup), keeps


def _known(source: int | Field, read: Mapping[str, Any]) -> int:
    if isinstance(source, Field):
        return int(read[source.path]) if source.role == MARKET else 0
    return source


def _whole(read: Mapping[str, Any], field: Field | None) -> int:
    return 0 if field is None else int(read[field.path])


def _key(read: Mapping[str, Any], field: Field) -> str:
    return str(Pubkey(read[field.path]))


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=detail)
