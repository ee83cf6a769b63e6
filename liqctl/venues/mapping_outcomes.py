"""What a mapped program says of itself: error codes, the event of a liquidation, the fund."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liqctl.core.instruction import Outcome
from liqctl.errors import LayoutError, SettingsError
from liqctl.venues.idl import Idl
from liqctl.venues.mapping_places import INTEGERS, Field, Places, roots
from liqctl.venues.mapping_text import Table, suggestion

EFFECTS = (
    *("closed_size", "remaining_size", "price", "reward", "owner_payout", "fund_delta"),
    *("bad_debt_covered", "bad_debt_uncovered", "equity", "maintenance_margin", "is_full", "slot"),
)
MONEY = frozenset(EFFECTS) - {"closed_size", "remaining_size", "price", "is_full", "slot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InsuranceMap:
    """The fund: which named account it is and which fields tell its state."""

    role: str
    balance: Field
    covered: Field | None
    uncovered: Field | None
    count: Field | None
    mint: Field | None
    vault: Field | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMap:
    """What the program logs of a liquidation, by our names of the figures."""

    name: str
    head: bytes
    fields: Mapping[str, str]


def read_outcomes(table: Table, idl: Idl) -> dict[int, Outcome]:
    """Return what each error code means.

    Raises:
        SettingsError: an error is unknown to the IDL, or means two things.
    """
    codes = {name: code for code, name in idl.errors.items()}
    found: dict[int, Outcome] = {}
    for outcome in Outcome:
        value = table.any(outcome.value)
        if value is None:
            continue
        if not isinstance(value, list):
            table.refuse(outcome.value, "a list of error names or codes")
        for one in value:
            code = one if type(one) is int else codes.get(str(one))
            if code is None:
                hint = suggestion(str(one), codes, "; see the errors of the IDL")
                raise SettingsError(
                    f"{table.file}: {table.path(outcome.value)} names {one!r}, but the IDL has no "
                    f"such error{hint}"
                )
            if code in found:
                table.refuse(
                    outcome.value, f"free of {one!r}, which is {found[code].value} already"
                )
            found[code] = outcome
    table.done()
    return found


def read_event(table: Table, idl: Idl) -> EventMap:
    """Return which figures the event of a liquidation tells.

    Raises:
        SettingsError: the event or a field of it is unknown, or its size varies.
    """
    name = table.text("name", "an event of the IDL")
    if name not in idl.event_names:
        raise SettingsError(
            f"{table.file}: {table.path('name')} names {name!r}, but the IDL has no such event"
            + suggestion(name, idl.event_names)
        )
    try:
        layout = idl.event_layout(name)
    except LayoutError as error:
        raise SettingsError(
            f"{table.file}: {table.path('name')} cannot be used: {error}"
        ) from error
    fields: dict[str, str] = {}
    for effect in EFFECTS:
        path: Any = table.any(effect)
        if path is None:
            continue
        if not isinstance(path, str) or layout.kind_of(path) not in {*INTEGERS, "bool"}:
            hint = suggestion(str(path), layout.names, f"; it has: {', '.join(layout.names)}")
            raise SettingsError(
                f"{table.file}: {table.path(effect)} must name an integer of {name}, was {path!r}{hint}"
            )
        fields[effect] = path
    table.done()
    return EventMap(name=name, head=idl.event_discriminator(name), fields=fields)


def read_insurance(table: Table, places: Places) -> InsuranceMap:
    """Return which account the fund is and which fields tell its state.

    Raises:
        SettingsError: something is missing or wrong.
    """
    role = table.text("account", "one of [accounts]")
    if role not in places.named or role not in places.kinds:
        table.refuse("account", "one of [accounts] that has an `account` of the IDL")
    if roots(places.named[role], places.named):
        table.refuse("account", "an account whose address depends on nothing", "there is one fund")

    def money(name: str) -> Field | None:
        return places.optional(table, name, role, "integer")

    found = InsuranceMap(
        role=role,
        balance=places.field(table, "balance", role=role, kinds="integer"),
        covered=money("bad_debt_covered"),
        uncovered=money("bad_debt_uncovered"),
        count=money("liquidation_count"),
        mint=places.optional(table, "mint", role, "key"),
        vault=places.optional(table, "vault", role, "key"),
    )
    table.done()
    return found
