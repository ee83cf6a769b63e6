"""From settings to venues: the built-in ones by name, and a user's own by IDL and mapping."""

from collections.abc import Sequence
from pathlib import Path

from liqctl.config import Settings
from liqctl.core.venue_choice import BUILT_IN, VenueChoice, venue_choice
from liqctl.errors import LayoutError, SettingsError
from liqctl.ports import Venue
from liqctl.venues.idl import Idl
from liqctl.venues.mapping import VenueMap, read_mapping
from liqctl.venues.registry import open_mapped, open_venue


def venues_of(settings: Settings) -> tuple[Venue, ...]:
    """Return the venues of the settings in their order; a user's own that has no place comes last.

    Raises:
        SettingsError: a file cannot be read or used, a name is nobody's, or a program id is
            missing or no key.
    """
    mapped = mapping_of(settings)
    choices = [venue_choice(text) for text in settings.venue]
    names = [one.name for one in choices]
    own = None if mapped is None else mapped.name
    strangers = [name for name in names if name not in (*BUILT_IN, own)]
    if strangers:
        raise SettingsError(
            f"no venue is called {strangers[0]!r}; there is: {', '.join(BUILT_IN)}, and {own!r} "
            f"of {settings.mapping}"
        )
    if own is not None and own not in names:
        choices.append(VenueChoice(own, None))
    alone = settings.program_id if len(choices) == 1 else None
    venues: list[Venue] = []
    for choice in choices:
        program = choice.program or alone
        ours = mapped is not None and choice.name == own
        venues.append(
            open_mapped(mapped, program)
            if mapped is not None and ours
            else open_venue(choice.name, program)
        )
    _refuse_same_program(venues)
    return tuple(venues)


def venue_of(settings: Settings) -> Venue:
    """Return the only venue of the settings.

    Raises:
        SettingsError: they name several, or one that cannot be opened.
    """
    first, *others = venues_of(settings)
    if others:
        names = ", ".join(venue.id for venue in (first, *others))
        raise SettingsError(f"this works on one venue; name one of {names} with --venue")
    return first


def venue_at(owner: str, pubkey: str, venues: Sequence[Venue]) -> Venue:
    """Return the venue whose program owns an account.

    Raises:
        LayoutError: none of them does.
    """
    for venue in venues:
        if venue.program_id == owner:
            return venue
    known = ", ".join(f"{venue.id} ({venue.program_id})" for venue in venues)
    raise LayoutError(f"{pubkey} belongs to the program {owner}, which is none of {known}")


def mapping_of(settings: Settings) -> VenueMap | None:
    """Return the mapping of the user's own program, or None where none is named.

    Raises:
        SettingsError: only one of IDL and mapping is named, or a file cannot be read or used.
    """
    if settings.idl is None and settings.mapping is None:
        return None
    if settings.idl is None or settings.mapping is None:
        raise SettingsError(
            "--idl and --mapping belong together; `liqctl venues init --idl FILE` writes a mapping"
        )
    idl = read_idl(settings.idl)
    return read_mapping(settings.mapping, read_file(settings.mapping), idl)


def read_idl(path: str) -> Idl:
    """Return the interface that a file describes.

    Raises:
        SettingsError: the file cannot be read, or is no IDL.
    """
    try:
        return Idl.parse(read_file(path))
    except LayoutError as error:
        raise SettingsError(f"{path} is no IDL that can be used: {error}") from error


def read_file(path: str) -> str:
    """Return the text of a file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error


def _refuse_same_program(venues: list[Venue]) -> None:
    """Refuse to watch one program twice: both would liquidate the same positions."""
    programs = [venue.program_id for venue in venues]
    for venue in venues:
        if programs.count(venue.program_id) > 1:
            both = " and ".join(one.id for one in venues if one.program_id == venue.program_id)
            raise SettingsError(
                f"{both} are both the program {venue.program_id}; leave out one of them"
            )
