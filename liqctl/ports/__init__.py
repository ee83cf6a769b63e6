"""The Protocols between the core and the world, and the few lines that really read clock and chance."""

from liqctl.ports.archive import AlertBook, Archive
from liqctl.ports.chain import Notifier, Rpc, Signer, Venue
from liqctl.ports.store import Store
from liqctl.ports.system import Clock, Rng, SystemClock, SystemRng

__all__ = [
    "AlertBook",
    "Archive",
    "Clock",
    "Notifier",
    "Rng",
    "Rpc",
    "Signer",
    "Store",
    "SystemClock",
    "SystemRng",
    "Venue",
]
