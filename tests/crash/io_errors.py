"""An I/O error at the N-th operation, for every N: the call fails, nothing else does."""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from liqctl.errors import StoreError
from liqctl.store.open import open_store
from tests.crash import vfs
from tests.crash.findings import Findings
from tests.crash.power import NAME
from tests.crash.vfs import Shim, scratch, shimmed
from tests.crash.workload import Workload, content_of, queries_parsed_once

OPERATIONS_MAX = 100_000
SHORT = ("claim", "record", "sent", "end", "checkpoint", "claim", "record", "reopen", "side")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error code for operations of some kinds; `lasting`: also for all that follow."""

    name: str
    code: int
    kinds: frozenset[str]
    lasting: bool


def _both(name: str, code: int, *kinds: str) -> list[Fault]:
    return [Fault(name, code, frozenset(kinds), lasting) for lasting in (False, True)]


FAULTS = (
    *_both("disk full", vfs.FULL, "write", "truncate"),
    *_both("EIO on write", vfs.WRITE_FAILED, "write"),
    *_both("EIO on sync", vfs.SYNC_FAILED, "sync"),
    *_both("EIO on read", vfs.READ_FAILED, "read"),
    *_both("EIO on delete", vfs.DELETE_FAILED, "delete", "truncate"),
    *_both("cannot open", vfs.CANTOPEN, "open"),
    *_both("locked", vfs.BUSY, "lock", "shm_lock"),
)


class Trap:
    """Lets the N-th operation fail, or from the N-th one on all, until it is taken away."""

    def __init__(self, fault: Fault, n: int) -> None:
        self.fault = fault
        self.left = n
        self.hits = 0

    def __call__(self, kind: str, path: str) -> int:
        if kind not in self.fault.kinds:
            return 0
        self.left -= 1
        if self.left < 0 and (self.fault.lasting or self.left == -1):
            self.hits += 1
            return self.fault.code
        return 0


class Laboratory:
    """One short workload, made without faults once and with a fault again and again."""

    def __init__(self, shim: Shim, place: Path, seed: int, calls: int, *, fresh: bool) -> None:
        self._shim = shim
        self._calls = calls
        self._path = place / NAME
        self._seed = seed
        self._template = None if fresh else place / "template"
        if self._template is not None:
            open_store(f"sqlite:{self._path}").close()
            shutil.copyfile(self._path, self._template)
        self.expected = self._undisturbed()

    def _undisturbed(self) -> list[bytes]:
        work = self._begin()
        contents = [content_of(work.store)]
        for _ in range(self._calls):
            work.next_call()()
            contents.append(content_of(work.store))
        work.store.close()
        return contents

    def _begin(self) -> Workload:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        if self._template is not None:
            shutil.copyfile(self._template, self._path)
        return self._start()

    def _start(self) -> Workload:
        return Workload(self._path, self._seed, script=SHORT)

    def wrong_at(self, fault: Fault, n: int) -> tuple[str, int]:
        """Return what went wrong with the fault at operation `n`, and how often it struck."""
        trap = Trap(fault, n)
        self._shim.fault = trap
        try:
            return self._disturbed(trap), trap.hits
        except StoreError as error:
            return f"NO_RECOVERY {error}", trap.hits
        finally:
            self._shim.fault = None

    def _disturbed(self, trap: Trap) -> str:
        try:
            work = self._begin()
        except StoreError:
            self._shim.fault = None
            work = self._start()
        for number in range(self._calls):
            wrong = self._one_call(work, work.next_call(), number)
            if wrong:
                return wrong
        self._shim.fault = None
        (integrity,) = work.connection.execute("PRAGMA integrity_check").fetchone()
        work.store.close()
        store = open_store(f"sqlite:{self._path}")
        content = content_of(store)
        store.close()
        if integrity != "ok":
            return f"INTEGRITY {integrity}"
        return "" if content == self.expected[-1] else "LOST_ROW at the end"

    def _one_call(self, work: Workload, call: Callable[[], object], number: int) -> str:
        before, after = self.expected[number], self.expected[number + 1]
        failed = False
        try:
            call()
        except (StoreError, sqlite3.Error):
            # A checkpoint is asked for by the test itself, below the store and its errors.
            failed = True
        self._shim.fault, trap = None, self._shim.fault
        if not failed:
            if content_of(work.store) != after:
                return f"LOST_ROW by call {number}, which was acknowledged"
            self._shim.fault = trap
            return ""
        if _is_open(work.connection):
            content = content_of(work.store)
            if content not in {before, after}:
                return f"TORN by call {number}"
            if content == after != before:
                return f"REPORTED_FAILED but done by call {number}"
        call()
        return "" if content_of(work.store) == after else f"LOST_ROW by the repeated call {number}"


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def fail_everywhere(
    seed: int,
    *,
    calls: int = len(SHORT),
    fresh: bool = False,
    faults: Sequence[Fault] = FAULTS,
    stride: int = 1,
) -> Findings:
    """Return what faults at every operation of one short workload did.

    Behind the calls of SHORT come others from the seed. `fresh`: the database is made and migrated
    within the workload, under the same faults. With a stride of n, each fault strikes at every n-th
    operation, beginning with another one for each kind.

    Raises:
        Unreachable: this Python's SQLite does not let its calls be answered.
    """
    found = Findings()
    with shimmed() as shim, queries_parsed_once(), scratch() as folder:
        laboratory = Laboratory(shim, Path(folder), seed, calls, fresh=fresh)
        for number, fault in enumerate(faults):
            for n in range(number // 2 % stride, OPERATIONS_MAX, stride):
                wrong, hits = laboratory.wrong_at(fault, n)
                if not hits:
                    break
                found.cycles += 1
                found.counts["failed_operations"] += hits
                if wrong:
                    lasting = ", lasting" if fault.lasting else ""
                    found.violations.append(f"{wrong}: {fault.name}{lasting} at {n}, seed {seed}")
    return found
