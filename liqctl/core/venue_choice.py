"""Which venue is meant, and where its program is: NAME or NAME=PROGRAM_ID."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

BUILT_IN = ("reference", "perpetuals", "adrena", "jupiter")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_BASE58_KEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")


@dataclass(frozen=True, slots=True)
class VenueChoice:
    """A venue by name; without a program its usual one is meant."""

    name: str
    program: str | None


def venue_choice(text: str) -> VenueChoice:
    """Return what a text names.

    >>> venue_choice("reference")
    VenueChoice(name='reference', program=None)

    Raises:
        ValueError: it is neither NAME nor NAME=PROGRAM_ID.
    """
    name, equals, program = text.partition("=")
    if _NAME.fullmatch(name) is None or (equals and _BASE58_KEY.fullmatch(program) is None):
        raise ValueError("must be NAME or NAME=PROGRAM_ID, such as perpetuals")
    return VenueChoice(name, program or None)


def venue_choices(texts: Sequence[str], *, own: bool, program: str | None) -> list[VenueChoice]:
    """Return all choices; `own` says that a program of the user's may be among the names.

    `program` is where the only one is, when that was told apart from its name.

    Raises:
        ValueError: no such venue, one twice, or a program that could be any of several.
    """
    found = [venue_choice(text) for text in texts]
    names = [one.name for one in found]
    for name in names:
        if name not in BUILT_IN and not own:
            raise ValueError(f"no venue is called {name!r}; there is: {', '.join(BUILT_IN)}")
        if names.count(name) > 1:
            raise ValueError(
                f"venue names {name!r} twice; a second program of the kind needs a keeper and a "
                "database of its own"
            )
    several = len(found) + (own and set(names) <= set(BUILT_IN)) > 1
    if program is not None and (several or any(one.program for one in found)):
        raise ValueError(
            "program_id is for a single venue; name each program with its venue: "
            "--venue NAME=PROGRAM_ID"
        )
    return found
