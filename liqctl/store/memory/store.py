"""The whole Store in memory."""

from liqctl.store.memory.alerts import MemoryAlerts
from liqctl.store.memory.archive import MemoryArchive
from liqctl.store.memory.intents import MemoryIntents
from liqctl.store.memory.queue import MemoryQueue
from liqctl.store.memory.streams import MemoryStreams


class MemoryStore(MemoryIntents, MemoryStreams, MemoryQueue, MemoryArchive, MemoryAlerts):
    """The Store for tests, simulations and dry runs; what it holds ends with it."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def hurry(self) -> None:
        """Do nothing: nothing is waited for."""
