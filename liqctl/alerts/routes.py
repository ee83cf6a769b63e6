"""Channels as people write them: a name, the least severity, and a URL that nobody else may see."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from liqctl.core.alert import Severity
from liqctl.errors import SettingsError

_ROUTE = re.compile(
    r"(?:(?P<name>[a-z0-9][a-z0-9_-]{0,31}):(?!//))?"
    r"(?:(?P<severity>[a-z]+)=)?"
    r"(?P<scheme>[a-z][a-z0-9]{1,31})://(?P<rest>[^\s\x00-\x1f\x7f]+)"
)
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One channel: what it is called in records, and the least severity it hears of."""

    name: str
    least: Severity
    url: str = field(repr=False)

    def hears(self, severity: Severity) -> bool:
        """Return whether a message of that severity goes to the channel."""
        return rank(severity) >= rank(self.least)


def rank(severity: Severity) -> int:
    """Return the order of severities, the least one 0."""
    return _RANK[severity]


def parse_route(text: str) -> Route:
    """Return the channel that `[NAME:][SEVERITY=]URL` describes; WARNING unless given.

    The name is the URL's scheme unless given.

    Raises:
        SettingsError: what it must look like; the text itself is a secret and never shown.

    >>> parse_route("oncall:critical=pagerduty://KEY@KEY")
    Route(name='oncall', least=<Severity.CRITICAL: 'critical'>)
    """
    match = _ROUTE.fullmatch(text)
    if match is None:
        raise SettingsError(
            "must look like SEVERITY=URL, such as warning=slack://A/B/C, with blanks in the URL "
            "percent-encoded"
        )
    severity = match["severity"] or Severity.WARNING.value
    if severity not in _RANK:
        raise SettingsError(f"must begin with one of {', '.join(Severity)} and =")
    return Route(
        name=match["name"] or match["scheme"],
        least=Severity(severity),
        url=f"{match['scheme']}://{match['rest']}",
    )


def parse_routes(texts: Iterable[str]) -> tuple[Route, ...]:
    """Return the channels, each under a name of its own.

    Raises:
        SettingsError: what one must look like, or that two have the same name.
    """
    routes = tuple(parse_route(text) for text in texts)
    names = [route.name for route in routes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(
            f"must have names of their own, two are called {twice[0]}; name one of them, such as "
            f"team:warning={twice[0]}://..."
        )
    return routes


def heard_by(routes: Sequence[Route], severity: Severity) -> list[str]:
    """Return the names of the channels that hear of that severity."""
    return [route.name for route in routes if route.hears(severity)]
