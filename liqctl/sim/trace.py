"""What happened in a simulation, as one hash that two runs can compare."""

import hashlib
from collections.abc import Callable

_BATCH = 4096


class Trace:
    """A running hash over what happened and when; payload bytes never enter it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.batch: list[str] = []
        self.listener: Callable[[float, str], None] | None = None
        self._sha = hashlib.sha256()
        self.now_s = -1.0

    def moment(self, now_s: float) -> None:
        """Say at which virtual time the next happenings happen."""
        if now_s != self.now_s:
            self.now_s = now_s
            if len(self.batch) > _BATCH:
                self._flush()
            self.batch.append(f"@{round(now_s * 1e9)}")

    def add(self, text: str) -> None:
        """Append one happening."""
        self.batch.append(text)
        if self.listener is not None:
            self.listener(self.now_s, text)

    def digest(self) -> str:
        """Return the hash so far, in hexadecimal."""
        self._flush()
        return self._sha.hexdigest()

    def _flush(self) -> None:
        self.batch.append("")
        self._sha.update("\n".join(self.batch).encode())
        self.batch.clear()
