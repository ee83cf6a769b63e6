"""What a proxy has met and done, counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from liqctl.chain.text import one_line
from liqctl.sim.chaos.faults import Fault

METHODS_MAX = 100
OTHER = "(other)"


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts since the start. Method names come from callers: beyond 100 of them the rest is one."""

    exchanges: int = 0
    frames: int = 0
    sockets: int = 0
    upstream_failures: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    faults: dict[Fault, Counter[str]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def request(self, method: str) -> None:
        """Count a call."""
        self.requests[self._name(method)] += 1

    def fault(self, kind: Fault, method: str) -> None:
        """Count a fault that took effect."""
        self.faults.setdefault(kind, Counter())[self._name(method)] += 1

    def summary(self) -> Mapping[str, object]:
        """Return all counts by name: `faults` by kind and method, the kinds in their order."""
        by_kind = {kind: self.faults[kind] for kind in Fault if kind in self.faults}
        return {
            "exchanges": self.exchanges,
            "requests": self.requests.total(),
            "requests_by_method": dict(sorted(self.requests.items())),
            "sockets": self.sockets,
            "frames": self.frames,
            "faults": sum(each.total() for each in by_kind.values()),
            "faults_by_kind": {kind.value: each.total() for kind, each in by_kind.items()},
            "faults_by_method": {
                kind.value: dict(sorted(each.items())) for kind, each in by_kind.items()
            },
            "upstream_failures": self.upstream_failures,
        }

    def _name(self, method: str) -> str:
        if method not in self._names:
            if len(self._names) >= METHODS_MAX:
                return OTHER
            self._names[method] = one_line(method[:64])
        return self._names[method]
