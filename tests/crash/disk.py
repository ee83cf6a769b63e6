"""A disk that loses power: what was synced stays, of the rest anything may be there or torn."""

import random
from dataclasses import dataclass, field

from tests.crash.vfs import Op

SECTOR = 512


@dataclass(slots=True)
class Inode:
    """A file: its synced content, and the writes and truncations since then in their order."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.pending:
            apply(self.synced, op)
        self.pending.clear()

    def after_crash(self, chance: random.Random) -> bytes:
        content = bytearray(self.synced)
        for op in survivors(self.pending, chance):
            apply(content, op)
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Renaming:
    """A name that appeared or, with no inode, disappeared."""

    path: str
    inode: Inode | None


class Disk:
    """Files as a sequence of changes leaves them, and what a loss of power makes of them."""

    def __init__(self) -> None:
        self._names: dict[str, Inode] = {}
        self._synced: dict[str, Inode] = {}
        self._pending: list[Renaming] = []

    def apply(self, op: Op) -> None:
        """Make one change, as a running system sees it."""
        match op.kind:
            case "create" if op.path not in self._names:
                self._rename(op.path, Inode())
            case "delete":
                self._rename(op.path, None)
                if op.at:
                    self._sync_names()
            case "write" | "truncate":
                self._names[op.path].pending.append(op)
            case "sync":
                self._names[op.path].sync()
                if op.at:
                    self._sync_names()
            case _:
                pass

    def after_crash(self, chance: random.Random) -> dict[str, bytes]:
        """Return what is found at the next start."""
        names = dict(self._synced)
        # A journaling file system replays its directory changes in order, up to some point.
        for renaming in self._pending[: chance.randint(0, len(self._pending))]:
            _renamed(names, renaming)
        return {path: inode.after_crash(chance) for path, inode in names.items()}

    def _rename(self, path: str, inode: Inode | None) -> None:
        renaming = Renaming(path, inode)
        _renamed(self._names, renaming)
        self._pending.append(renaming)

    def _sync_names(self) -> None:
        for renaming in self._pending:
            _renamed(self._synced, renaming)
        self._pending.clear()


def _renamed(names: dict[str, Inode], renaming: Renaming) -> None:
    if renaming.inode is None:
        names.pop(renaming.path, None)
    else:
        names[renaming.path] = renaming.inode


def apply(content: bytearray, op: Op) -> None:
    """Write or truncate; a gap before a write is zeros, as in a sparse file."""
    if op.kind == "truncate":
        del content[op.at :]
        return
    gap = op.at - len(content)
    if gap > 0:
        content.extend(bytes(gap))
    content[op.at : op.at + len(op.content)] = op.content


def survivors(pending: list[Op], chance: random.Random) -> list[Op]:
    """Return which unsynced changes reached the disk: none, all, a first part, or any of them."""
    match chance.randrange(6):
        case 0:
            return []
        case 1:
            return pending
        case 2:
            return pending[: chance.randint(0, len(pending))]
        case 3:
            kept = pending[: chance.randint(0, len(pending))]
            return kept[:-1] + [op for last in kept[-1:] for op in torn(last, chance)]
        case _:
            share = chance.random()
            return [
                part
                for op in pending
                if chance.random() < share
                for part in (torn(op, chance) if chance.random() < 0.3 else [op])
            ]


def torn(op: Op, chance: random.Random) -> list[Op]:
    """Return the sectors of a write that reached the disk, in any combination."""
    if op.kind != "write":
        return [op]
    parts, start, end = [], op.at, op.at + len(op.content)
    while start < end:
        stop = min(end, start - start % SECTOR + SECTOR)
        parts.append(op._replace(at=start, content=op.content[start - op.at : stop - op.at]))
        start = stop
    if chance.random() < 0.5:
        return parts[: chance.randint(0, len(parts))]
    return [part for part in parts if chance.random() < 0.5]
