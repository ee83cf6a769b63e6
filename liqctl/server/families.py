"""Metric families that grow sample by sample, whatever order the samples come in."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from liqctl.core.status import Histogram

F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily)
Number = int | float | None


class Families(Collector):
    """Holds one family a name; a value of None is no sample, as nothing is known then.

    Every sample of a name must have the same labels. Of two with equal values of them the first
    stays, for Prometheus refuses an answer that holds both.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._families: dict[str, Metric] = {}
        self._told: set[tuple[str, ...]] = set()

    def collect(self) -> Iterable[Metric]:
        """Return the families in the order of their first samples."""
        return self._families.values()

    def gauge(self, name: str, text: str, value: Number, **labels: str) -> None:
        """Add a value that goes up and down."""
        family = self._family(GaugeMetricFamily, name, text, labels)
        if value is not None and self._is_first(name, labels):
            family.add_metric([*labels.values()], value)

    def counter(self, name: str, text: str, value: Number, **labels: str) -> None:
        """Add a count that only grows; the name is told with `_total` behind it."""
        family = self._family(CounterMetricFamily, name, text, labels)
        if value is not None and self._is_first(name, labels):
            family.add_metric([*labels.values()], value)

    def histogram(
        self, name: str, text: str, found: Histogram, per_unit: int = 1, **labels: str
    ) -> None:
        """Add a histogram whose bounds and sum are told in units of `per_unit`."""
        family = self._family(HistogramMetricFamily, name, text, labels)
        if not self._is_first(name, labels):
            return
        buckets: Sequence[tuple[str, float]] = [
            (str(bound / per_unit), count)
            for bound, count in zip(found.bounds, found.counts, strict=True)
        ]
        family.add_metric(
            [*labels.values()],
            buckets=[*buckets, ("+Inf", found.count)],
            sum_value=found.sum / per_unit,
        )

    def _is_first(self, name: str, labels: dict[str, str]) -> bool:
        sample = (name, *labels.values())
        if sample in self._told:
            return False
        self._told.add(sample)
        return True

    def _family(self, kind: type[F], name: str, text: str, labels: dict[str, str]) -> F:
        held = self._families.get(name)
        if isinstance(held, kind):
            return held
        made = kind(name, text, labels=[each.rstrip("_") for each in labels])
        self._families[name] = made
        return made
