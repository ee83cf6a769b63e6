"""Which venues exist, by name."""

from collections.abc import Callable, Mapping

from liqctl.errors import SettingsError
from liqctl.ports import Venue
from liqctl.venues.adrena import AdrenaVenue
from liqctl.venues.adrena_layout import ADRENA_IDL
from liqctl.venues.jupiter import JUPITER_IDL, JupiterVenue
from liqctl.venues.mapped import MappedVenue
from liqctl.venues.mapping import VenueMap
from liqctl.venues.perpetuals import PerpetualsVenue
from liqctl.venues.perpetuals_layout import PERPETUALS_IDL
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL

VENUES: Mapping[str, Callable[[str], Venue]] = {
    ReferenceVenue.id: ReferenceVenue,
    PerpetualsVenue.id: PerpetualsVenue,
    AdrenaVenue.id: AdrenaVenue,
    JupiterVenue.id: JupiterVenue,
}
DEFAULT_PROGRAMS = {
    ReferenceVenue.id: str(REFERENCE_IDL.address),
    PerpetualsVenue.id: str(PERPETUALS_IDL.address),
    AdrenaVenue.id: str(ADRENA_IDL.address),
    JupiterVenue.id: str(JUPITER_IDL.address),
}


def open_venue(name: str, program_id: str | None) -> Venue:
    """Return the venue of that name for the program at `program_id`, or at its usual address.

    Raises:
        SettingsError: no such venue, or the program id is no public key.
    """
    if name not in VENUES:
        raise SettingsError(f"no venue is called {name!r}; there is: {', '.join(sorted(VENUES))}")
    program = DEFAULT_PROGRAMS[name] if program_id is None else program_id
    try:
        return VENUES[name](program)
    except ValueError as error:
        raise SettingsError(f"the program id {program!r} is no public key") from error


def open_mapped(mapped: VenueMap, program_id: str | None) -> Venue:
    """Return the venue of a mapping, at the address given, the mapping's or the IDL's.

    Raises:
        SettingsError: the name is a built-in venue's, none of them names an address, or it is no
            public key.
    """
    if mapped.name in VENUES:
        raise SettingsError(
            f"{mapped.file}: name is {mapped.name!r}, which is a built-in venue; choose another"
        )
    program = program_id or mapped.program_id or mapped.idl.address
    if program is None:
        raise SettingsError(
            f"neither {mapped.file} nor the IDL says where the program is; name it with --program-id"
        )
    try:
        return MappedVenue(mapped, program)
    except ValueError as error:
        raise SettingsError(f"the program id {program!r} is no public key") from error
