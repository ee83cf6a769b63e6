"""The store in the memory of one program: the same contract without the disk."""

from liqctl.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
