"""Reading a mapping file: every value is what it should be, or the message says what to do."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from liqctl.errors import SettingsError

SHOWN_LENGTH_MAX = 80


class Table:
    """One table of a mapping file; a key that nobody asks for is refused by `done`.

    Every method raises SettingsError with the file, the key, what was expected and what was found.
    """

    def __init__(self, file: str, key: str, content: Mapping[str, Any]) -> None:
        """Take what stands under a key; the empty key is the whole file."""
        self.file = file
        self.key = key
        self.content = content
        self._asked: list[str] = []

    @classmethod
    def parse(cls, file: str, text: str) -> "Table":
        """Return the whole of a file."""
        try:
            return cls(file, "", tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{file} is not valid TOML: {error}") from error

    def __contains__(self, name: str) -> bool:
        """Whether the key is there."""
        self._ask(name)
        return name in self.content

    def path(self, name: str) -> str:
        """Return the full key of a name of this table."""
        return f"{self.key}.{name}" if self.key else name

    def refuse(self, name: str, expected: str, advice: str = "") -> NoReturn:
        """Raise that the value of a name is not what was expected."""
        raise SettingsError(self.complaint(name, expected, advice))

    def complaint(self, name: str, expected: str, advice: str = "") -> str:
        """Return the message for a value that is not what was expected."""
        hint = f"; {advice}" if advice else ""
        where = f"{self.file}: {self.path(name)}"
        if name not in self.content:
            near = difflib.get_close_matches(name, list(self.content), n=1, cutoff=0.7)
            misspelt = f"; is it {near[0]!r}, which nothing reads" if near else ""
            return f"{where} is missing, expected {expected}{hint or misspelt}"
        return f"{where} must be {expected}, was {_shown(self.content[name])}{hint}"

    def _ask(self, name: str) -> None:
        if name not in self._asked:
            self._asked.append(name)

    def any(self, name: str) -> Any:  # noqa: ANN401 - the caller looks at it
        """Return whatever stands there, or None."""
        self._ask(name)
        return self.content.get(name)

    def text(self, name: str, expected: str, *, default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = self.any(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            self.refuse(name, expected)
        return value

    def choice(
        self, name: str, choices: Iterable[str], *, default: str | None = None, advice: str = ""
    ) -> str:
        """Return one of some words."""
        listed = list(choices)
        value = self.any(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or value not in listed:
            self.refuse(name, " or ".join(map(repr, listed)), advice)
        return value

    def whole(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.any(name)
        if value is None and default is not None:
            return default
        if type(value) is not int or not low <= value <= high:
            self.refuse(name, f"a whole number from {low} to {high}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.any(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def texts(self, name: str, expected: str) -> tuple[str, ...]:
        """Return a list of texts, empty where it is left out."""
        value = self.any(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.refuse(name, expected)
        return tuple(value)

    def table(self, name: str, *, required: bool = False) -> "Table":
        """Return a table, an empty one where it is left out."""
        value = self.any(name)
        if (value is None and required) or not isinstance(value, dict | None):
            self.refuse(name, "a table")
        return Table(self.file, self.path(name), value or {})

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for name in self.content:
            if name not in self._asked:
                known = ", ".join(self._asked)
                raise SettingsError(
                    f"{self.file}: unknown key {self.path(name)}"
                    + suggestion(name, self._asked, f"; known here: {known}")
                )


def suggestion(found: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the question after the nearest known word, or the other text.

    >>> suggestion("ownr", ["owner", "market"])
    "; did you mean 'owner'?"
    """
    near = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else otherwise


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 3] + "..."
