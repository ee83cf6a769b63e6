"""What a program's own view of a verdict answers, and what is known of an open venue."""

from typing import Protocol, runtime_checkable

from liqctl.errors import LayoutError
from liqctl.ports import Venue
from liqctl.venues.facts import FACTS, Facts, facts_of
from liqctl.venues.mapped import MappedVenue
from liqctl.venues.reference import ReferenceVenue

# Answers with one byte, 1 for liquidatable; some nodes cut trailing zeros.
_ONE_BYTE = frozenset({"perpetuals", "adrena"})


@runtime_checkable
class DemandsAccounts(Protocol):
    """A venue that works with one version of its program only, and knows how to tell."""

    def demanded(self) -> tuple[str, ...]:
        """Return the accounts that must be there, and of this version, before anything begins."""
        ...


def confirmed(venue: Venue, returned: bytes) -> bool | None:
    """Return the verdict in what `venue.confirmation` returned, or None where it says none.

    Raises:
        LayoutError: the bytes are no such answer.
    """
    if isinstance(venue, ReferenceVenue):
        return venue.decode_assessment(returned).liquidatable
    if venue.id not in _ONE_BYTE:
        return None
    answer = returned.ljust(1, b"\0")
    if len(answer) != 1 or answer[0] > 1:
        raise LayoutError(f"a verdict of one byte, 0 or 1, was {returned.hex()}")
    return answer[0] == 1


def facts_for(venue: Venue) -> Facts:
    """Return what is known of an open venue, a user's own program included."""
    return facts_of(venue.mapped) if isinstance(venue, MappedVenue) else FACTS[venue.id]
