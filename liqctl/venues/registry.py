"""Which venues exist, by name."""

from liqctl.errors import SettingsError
from liqctl.ports import Venue
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL

VENUES = {ReferenceVenue.id: ReferenceVenue}
DEFAULT_PROGRAMS = {ReferenceVenue.id: str(REFERENCE_IDL.address)}


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
