"""A keeper that grows old: the memory of the real daemon over the slots of a day.

Time is pressed: slots and checks come so much more often that as many of them as in a day, or as
the settings allow, fit into the time. Prices move all along.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crash.processes import LIQCTL, ROOT, chain, watch

DAY_S, HOURS = 86_400, 24
SLOT_MS, CHECK_MS, CHECK_MS_MIN, FUND_MS_MIN = 400, 2_000, 100, 500
POSITIONS = 500
GROWTH_PERMILLE_MAX = 1_100
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1_024 if hasattr(os, "sysconf") else 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """Memory after the first of 24 parts and after the last one, each as the most in its part."""

    first_kib: int
    last_kib: int
    slots: int
    ended: int

    @property
    def counts(self) -> Counter[str]:
        return Counter(first_kib=self.first_kib, last_kib=self.last_kib, slots=self.slots)

    @property
    def violations(self) -> list[str]:
        found = []
        if self.last_kib * 1_000 > self.first_kib * GROWTH_PERMILLE_MAX:
            found.append(f"GREW from {self.first_kib} to {self.last_kib} KiB")
        if self.ended != 0:
            found.append(f"ENDED with {self.ended}")
        return found


def grow_old(seconds: float, positions: int = POSITIONS) -> Aged:
    """Return how the memory of a keeper changed over so many seconds."""
    pressed = seconds / DAY_S
    slot_ms = max(1, round(SLOT_MS * pressed))
    settings = {
        "LIQCTL_CHECK_INTERVAL_MS": str(max(CHECK_MS_MIN, round(CHECK_MS * pressed))),
        "LIQCTL_INSURANCE_INTERVAL_MS": str(FUND_MS_MIN),
        "LIQCTL_SPEND_HOUR_LAMPORTS": str(10**9),
        "LIQCTL_SPEND_DAY_LAMPORTS": str(10**10),
    }
    options = f"--positions {positions} --path calm --slot-ms {slot_ms}"
    with tempfile.TemporaryDirectory() as folder, chain(Path(folder), options) as net:
        place = Path(folder)
        keeper = subprocess.Popen(
            [*LIQCTL, *watch(net.ready, place, f"sqlite:{place}/record.db")],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        parts = [_most_kib(keeper, seconds / HOURS) for _ in range(HOURS)]
        slots = net.call("getSlot")
        keeper.send_signal(signal.SIGTERM)
        ended = keeper.wait(timeout=30)
    return Aged(first_kib=parts[0], last_kib=parts[-1], slots=slots, ended=ended)


def _most_kib(keeper: subprocess.Popen[bytes], seconds: float) -> int:
    """Return the most memory that a process had in the next seconds, 0 where it has ended."""
    end, most = time.monotonic() + seconds, 0
    while time.monotonic() < end and keeper.poll() is None:
        resident = int(Path(f"/proc/{keeper.pid}/statm").read_text().split()[1])
        most = max(most, resident * PAGE_KIB)
        time.sleep(min(0.5, seconds / 4))
    return most
