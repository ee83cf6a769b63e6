"""What a row of crashes or faults showed."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the crashes showed; `violations` say how to see one again."""

    cycles: int = 0
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
