"""What the keepers of one process share: the liquidator's money, and the places in the air."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Member:
    deciding: Callable[[], int]
    unconfirmed: Callable[[], int]


class Fleet:
    """Counts over all keepers that joined; a keeper without company is a fleet of its own.

    `committing` is held from the count of what is spent to the commit of the attempt, so that no
    two of them spend the same lamports.
    """

    def __init__(self) -> None:
        """Begin without any keeper."""
        self.committing = asyncio.Lock()
        self._members: list[_Member] = []

    def join(self, deciding: Callable[[], int], unconfirmed: Callable[[], int]) -> None:
        """Count a keeper from now on: its decisions under way and its attempts."""
        self._members.append(_Member(deciding, unconfirmed))

    def is_deciding(self) -> bool:
        """Return whether any decision is being carried out."""
        return any(one.deciding() for one in self._members)

    def busy(self) -> int:
        """Return how many places in the air are taken, by decisions and by attempts."""
        return sum(one.deciding() + one.unconfirmed() for one in self._members)
