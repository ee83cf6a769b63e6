"""Power losses: a workload is recorded once, then the disk is cut off at many points of it."""

import bisect
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from liqctl.errors import LiqctlError
from liqctl.store.open import open_store
from tests.crash.disk import Disk
from tests.crash.findings import Findings
from tests.crash.vfs import Op, Shim, scratch, shimmed
from tests.crash.workload import CHECKPOINT_PAGES, Workload, content_of, queries_parsed_once

NAME = "k.db"


@dataclass(slots=True, kw_only=True)
class Recording:
    """Every change of a workload in order; `contents[n]` is the database once mark n is logged."""

    log: list[Op] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)


def record(shim: Shim, begin: Callable[[], Workload], calls: int) -> Recording:
    """Return what a workload does to its files from its beginning on, and its acknowledgements."""
    made = Recording()
    shim.log = made.log
    work = begin()
    _mark(made, work)
    for _ in range(calls):
        work.next_call()()
        _mark(made, work)
    work.store.close()
    shim.log = None
    return made


def _mark(made: Recording, work: Workload) -> None:
    made.log.append(Op("mark", at=len(made.contents)))
    made.contents.append(content_of(work.store))


def crashes(
    made: Recording, points: list[int], seed: int
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield the files that are found after a loss of power behind so many changes, in order."""
    disk, done = Disk(), 0
    for number, point in enumerate(points):
        for op in made.log[done:point]:
            disk.apply(op)
        done = point
        yield point, disk.after_crash(random.Random(f"{seed}/{number}"))


def lose_power(
    seed: int,
    points: int,
    *,
    calls: int = 400,
    pragma: str = "",
    checkpoint_pages: int = CHECKPOINT_PAGES,
) -> Findings:
    """Return what `points` losses of power did to one workload.

    Raises:
        Unreachable: this Python's SQLite does not let its writes be seen.
    """
    found = Findings()
    with shimmed() as shim, queries_parsed_once(), scratch() as folder:
        place = Path(folder)
        begin = partial(
            Workload, place / NAME, seed, pragma=pragma, checkpoint_pages=checkpoint_pages
        )
        made = record(shim, begin, calls)
        _clear(place)
        found.counts["changes"] = len(made.log)
        found.counts["commits"] = len(set(made.contents))
        chance = random.Random(seed)
        chosen = sorted(chance.choices(range(1, len(made.log) + 1), k=points))
        marks = [index for index, op in enumerate(made.log) if op.kind == "mark"]
        for number, (point, files) in enumerate(crashes(made, chosen, seed)):
            acknowledged = bisect.bisect_left(marks, point) - 1
            wrong = _wrong(place, files, made.contents, acknowledged, found.counts)
            found.cycles += 1
            if wrong:
                found.violations.append(f"{wrong}: seed {seed}, crash {number} of {points}")
    return found


def _wrong(
    place: Path,
    files: dict[str, bytes],
    contents: list[bytes],
    acknowledged: int,
    counts: Counter[str],
) -> str:
    """Return what is wrong with the files of a crash after that acknowledgement, or nothing."""
    for path, content in files.items():
        Path(path).write_bytes(content)
    # The index of the log is shared memory: whatever is left in it must not be believed.
    (place / f"{NAME}-shm").write_bytes(b"\x5a" * 32_768)
    try:
        store = open_store(f"sqlite:{place / NAME}")
    except LiqctlError as error:
        return f"OPEN {error}"
    else:
        # Opening has checked the pages (quick_check); now the rows.
        content = content_of(store)
        (integrity,) = store._connection.execute("PRAGMA integrity_check").fetchone()  # type: ignore[attr-defined]
        store.close()
    finally:
        _clear(place)
    if integrity != "ok":
        return f"INTEGRITY {integrity}"
    if content in contents[max(0, acknowledged) : acknowledged + 2]:
        counts["unacknowledged_but_kept"] += content != contents[max(0, acknowledged)]
        return ""
    return "LOST_COMMIT" if content in contents else "TORN_COMMIT"


def _clear(place: Path) -> None:
    for leftover in place.iterdir():
        leftover.unlink()
