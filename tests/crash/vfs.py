"""SQLite's own file layer, watched: what is written, when it is made durable, what may fail.

The shim is a copy of the default VFS of the very library that the sqlite3 module uses, registered
as the new default. Files stay those of the original; only some of their methods are replaced.
"""

import _sqlite3
import ctypes as c
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

IOERR = 10
WRITE_FAILED = IOERR | 3 << 8
SYNC_FAILED = IOERR | 4 << 8
READ_FAILED = IOERR | 1 << 8
DELETE_FAILED = IOERR | 10 << 8
FULL = 13
BUSY = 5
CANTOPEN = 14

# Journals and logs: SQLite makes their names durable with the first sync of the content.
_NEW_NAME_SYNCED = 0x00000800 | 0x00004000 | 0x00080000
_CREATE = 0x00000004
_UNLOCK = 1
_SLEEP = 7

_Pointer, _Int, _Wide, _Text = c.c_void_p, c.c_int, c.c_int64, c.c_char_p
_OPEN = c.CFUNCTYPE(_Int, _Pointer, _Pointer, _Pointer, _Int, _Pointer)
_DELETE = c.CFUNCTYPE(_Int, _Pointer, _Text, _Int)
_TRANSFER = c.CFUNCTYPE(_Int, _Pointer, _Pointer, _Int, _Wide)
_TRUNCATE = c.CFUNCTYPE(_Int, _Pointer, _Wide)
_WITH_FLAG = c.CFUNCTYPE(_Int, _Pointer, _Int)
_SHM_LOCK = c.CFUNCTYPE(_Int, _Pointer, _Int, _Int, _Int)


class _Vfs(c.Structure):
    _fields_ = [
        ("version", _Int),
        ("file_size", _Int),
        ("path_max", _Int),
        ("next", _Pointer),
        ("name", _Text),
        ("app", _Pointer),
        ("open", _Pointer),
        ("delete", _Pointer),
        ("rest", _Pointer * 14),
    ]


class _Methods(c.Structure):
    _fields_ = [
        ("version", _Int),
        ("close", _Pointer),
        ("read", _Pointer),
        ("write", _Pointer),
        ("truncate", _Pointer),
        ("sync", _Pointer),
        ("size", _Pointer),
        ("lock", _Pointer),
        ("rest", _Pointer * 5),
        ("shm_map", _Pointer),
        ("shm_lock", _Pointer),
        ("more", _Pointer * 4),
    ]


class Op(NamedTuple):
    """One change: `kind` is write, truncate, sync, create, delete, or the mark of a workload.

    `at` is an offset, a size, whether the directory was synced too, or the number of a mark.
    """

    kind: str
    path: str = ""
    at: int = 0
    content: bytes = b""


class Unreachable(Exception):
    """This Python's SQLite does not let its file layer be replaced."""


class Shim:
    """What the shim does with the calls that pass through it.

    `log` receives every change while it is a list. `fault` is asked before each call with its
    kind and path and answers with an error code, or 0. Unless `durable`, nothing waits for a disk.
    `paths` are the open files by address, `unnamed` those whose names no sync has made durable.
    """

    def __init__(self) -> None:
        self.log: list[Op] | None = None
        self.fault: Callable[[str, str], int] | None = None
        self.durable = False
        self.paths: dict[int, str] = {}
        self.unnamed: set[int] = set()
        self._methods: dict[int, _Watched] = {}
        self._kept: list[Any] = []
        self._library = _library()
        found = self._library.sqlite3_vfs_find(None)
        self._original = c.cast(found, c.POINTER(_Vfs)).contents
        self._open = _OPEN(self._original.open)
        self._delete = _DELETE(self._original.delete)
        self._vfs = _Vfs.from_buffer_copy(self._original)
        self._vfs.name = b"liqctl-test"
        self._vfs.open = self.pointer(_OPEN, self._on_open)
        self._vfs.delete = self.pointer(_DELETE, self._on_delete)
        # A lock that is refused by the shim is not worth the seconds that SQLite would wait.
        self._vfs.rest[_SLEEP] = self.pointer(_WITH_FLAG, lambda _vfs, _microseconds: 0)

    def register(self) -> None:
        self._library.sqlite3_vfs_register(c.byref(self._vfs), 1)

    def unregister(self) -> None:
        self._library.sqlite3_vfs_unregister(c.byref(self._vfs))
        self._library.sqlite3_vfs_register(c.byref(self._original), 1)

    def note(self, op: Op) -> None:
        if self.log is not None:
            self.log.append(op)

    def pointer(self, kind: Any, method: Callable[..., int]) -> Any:
        made = kind(method)
        self._kept.append(made)
        return c.cast(made, _Pointer)

    def refused(self, kind: str, path: str) -> int:
        return self.fault(kind, path) if self.fault is not None else 0

    def _on_open(self, _vfs: int, name: int, file: int, flags: int, out: int) -> int:
        path = os.fsdecode(c.string_at(name)) if name else ""
        if code := self.refused("open", path):
            c.cast(file, c.POINTER(_Pointer))[0] = None
            return code
        code = int(self._open(c.addressof(self._original), name, file, flags, out))
        methods = c.cast(file, c.POINTER(_Pointer))
        if code or not path or not methods[0]:
            return code
        self.paths[file] = path
        if flags & _CREATE and flags & _NEW_NAME_SYNCED:
            self.unnamed.add(file)
        methods[0] = c.addressof(self._replaced(methods[0]))
        self.note(Op("create", path))
        return code

    def _replaced(self, original: int) -> _Methods:
        """Return the methods for files that had these."""
        if original not in self._methods:
            self._methods[original] = _Watched(self, original)
        return self._methods[original].methods

    def _on_delete(self, _vfs: int, name: bytes, sync_directory: int) -> int:
        path = os.fsdecode(name)
        if code := self.refused("delete", path):
            return code
        there = sync_directory if self.durable else 0
        code = int(self._delete(c.addressof(self._original), name, there))
        if not code:
            self.note(Op("delete", path, sync_directory))
        return code


class _Watched:
    """The methods of a kind of file: each asks for a fault, notes what it does and then does it."""

    def __init__(self, shim: Shim, original: int) -> None:
        theirs = c.cast(original, c.POINTER(_Methods)).contents
        self._shim = shim
        self._read = _TRANSFER(theirs.read)
        self._write = _TRANSFER(theirs.write)
        self._truncate = _TRUNCATE(theirs.truncate)
        self._sync = _WITH_FLAG(theirs.sync)
        self._lock = _WITH_FLAG(theirs.lock)
        self._shm_lock = _SHM_LOCK(theirs.shm_lock)
        self.methods = _Methods.from_buffer_copy(theirs)
        self.methods.read = shim.pointer(_TRANSFER, self._on_read)
        self.methods.write = shim.pointer(_TRANSFER, self._on_write)
        self.methods.truncate = shim.pointer(_TRUNCATE, self._on_truncate)
        self.methods.sync = shim.pointer(_WITH_FLAG, self._on_sync)
        self.methods.lock = shim.pointer(_WITH_FLAG, self._on_lock)
        self.methods.shm_lock = shim.pointer(_SHM_LOCK, self._on_shm_lock)

    def _on_read(self, file: int, buffer: int, length: int, offset: int) -> int:
        refused = self._shim.refused("read", self._shim.paths[file])
        return refused or int(self._read(file, buffer, length, offset))

    def _on_write(self, file: int, buffer: int, length: int, offset: int) -> int:
        path = self._shim.paths[file]
        if code := self._shim.refused("write", path):
            return code
        if self._shim.log is not None:
            self._shim.log.append(Op("write", path, offset, c.string_at(buffer, length)))
        return int(self._write(file, buffer, length, offset))

    def _on_truncate(self, file: int, size: int) -> int:
        path = self._shim.paths[file]
        if code := self._shim.refused("truncate", path):
            return code
        self._shim.note(Op("truncate", path, size))
        return int(self._truncate(file, size))

    def _on_sync(self, file: int, flags: int) -> int:
        path = self._shim.paths[file]
        if code := self._shim.refused("sync", path):
            return code
        code = int(self._sync(file, flags)) if self._shim.durable else 0
        if not code:
            self._shim.note(Op("sync", path, int(file in self._shim.unnamed)))
            self._shim.unnamed.discard(file)
        return code

    def _on_lock(self, file: int, level: int) -> int:
        return self._shim.refused("lock", self._shim.paths[file]) or int(self._lock(file, level))

    def _on_shm_lock(self, file: int, offset: int, n: int, flags: int) -> int:
        kind = "unlock" if flags & _UNLOCK else "shm_lock"
        refused = self._shim.refused(kind, self._shim.paths[file])
        return refused or int(self._shm_lock(file, offset, n, flags))


def _library() -> c.CDLL:
    """Return the SQLite inside the sqlite3 module.

    Raises:
        Unreachable: its functions are hidden, or another library answers to their names.
    """
    library = c.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        library.sqlite3_vfs_find.restype = _Pointer
        library.sqlite3_vfs_find.argtypes = [_Text]
        library.sqlite3_vfs_register.argtypes = [_Pointer, _Int]
        library.sqlite3_vfs_unregister.argtypes = [_Pointer]
        library.sqlite3_sourceid.restype = _Text
    except AttributeError as error:
        raise Unreachable("the functions of SQLite are hidden in this Python") from error
    memory = sqlite3.connect(":memory:")
    (ours,) = memory.execute("SELECT sqlite_source_id()").fetchone()
    memory.close()
    if library.sqlite3_sourceid().decode() != ours:
        raise Unreachable("another SQLite than that of the sqlite3 module was found")
    return library


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder in memory where there is one: what a shim makes up needs no disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a name of its own is made in it
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


@contextmanager
def shimmed() -> Iterator[Shim]:
    """Let every database that is opened inside go through a shim.

    Raises:
        Unreachable: this Python's SQLite does not allow that.
    """
    shim = Shim()
    shim.register()
    try:
        yield shim
    finally:
        shim.unregister()
