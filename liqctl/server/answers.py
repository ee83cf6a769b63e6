"""Answers: JSON and CSV from views, pages with their links, and what the documentation says of them."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from liqctl.ports import Clock
from liqctl.server.errors import ErrorAnswer
from liqctl.server.filters import Paged
from liqctl.server.paging import cursor_of, key_of, next_link
from liqctl.server.reader import Reader

Row = TypeVar("Row")
K = TypeVar("K")

CSV = "text/csv"
REFERENCE = "#/components/schemas/{name}"
# A spreadsheet takes a text that begins so for a formula.
NUMBER = re.compile(r"-?[0-9]+")
FORMULA = re.compile(r"[=+\-@\t\r]")
_ENCODER = msgspec.json.Encoder()


def _reader_of(request: Request) -> Reader:
    reader: Reader = request.app.state.reader
    return reader


def _clock_of(request: Request) -> Clock:
    clock: Clock = request.app.state.clock
    return clock


Reading = Annotated[Reader, Depends(_reader_of)]
Timed = Annotated[Clock, Depends(_clock_of)]


def json_answer(value: object, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(_ENCODER.encode(value), status, media_type="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Row, K]):
    """A list that is given out page by page: how its rows look, and what its cursors hold.

    `key` is where the next page goes on after the rows of this one.
    """

    kind: type[msgspec.Struct]
    view: Callable[[Row], msgspec.Struct]
    key: Callable[[Sequence[Row]], K]
    key_type: Any

    def after(self, request: Request, query: Paged) -> K | None:
        """Return the key to read after; None from the beginning.

        Raises:
            ApiError: the cursor is not one of this list with these filters.
        """
        if query.cursor is None:
            return None
        found: K = key_of(request.url.path, query.filters(), query.cursor, self.key_type)
        return found

    def answer(
        self, request: Request, query: Paged, rows: Sequence[Row], **more: object
    ) -> Response:
        """Return a page of rows, of which there is one too many if there is a next page."""
        path, shown = request.url.path, rows[: query.limit]
        cursor, link = None, None
        if len(rows) > query.limit:
            filters = query.filters()
            cursor = cursor_of(path, filters, self.key(shown))
            link = next_link(path, {**filters, "limit": query.limit}, cursor)
        views = [self.view(row) for row in shown]
        if prefers_csv(request.headers.get("accept", "")):
            text = csv_text(self.kind, views)
            answer = Response(text, media_type=f"{CSV}; charset=utf-8")
        else:
            answer = json_answer({"items": views, "next_cursor": cursor, "next": link, **more})
        answer.headers["Vary"] = "Accept"
        if link is not None:
            answer.headers["Link"] = f'<{link}>; rel="next"'
        return answer


def prefers_csv(accept: str) -> bool:
    """Return whether a client wants CSV rather than JSON.

    >>> prefers_csv("text/csv"), prefers_csv("application/json, text/csv;q=0.5"), prefers_csv("*/*")
    (True, False, False)
    """
    weights = {}
    for each in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        weights[kind] = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    json_weight = weights.get("application/json", 0.0)
    return weights.get(CSV, 0.0) > json_weight


def csv_text(kind: type[msgspec.Struct], views: Sequence[msgspec.Struct]) -> str:
    """Return rows as CSV with the names of the columns in the first line.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    names = kind.__struct_fields__
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(view, name)) for name in names] for view in views)
    return out.getvalue()


def documented(kind: Any, *others: int, as_csv: bool = False) -> dict[int | str, dict[str, Any]]:  # noqa: ANN401 - a class
    """Return what OpenAPI says of a route: the struct it answers with, and its errors."""
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(name=kind.__name__)}}}
    if as_csv:
        content[CSV] = {"schema": {"type": "string"}}
    told: dict[int | str, dict[str, Any]] = {200: {"description": "OK", "content": content}}
    for status in others:
        told[status] = ERRORS[status]
    return told | ALWAYS


def _error(description: str) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(name=ErrorAnswer.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


ERRORS = {
    400: _error("The cursor is not one of this list and these filters"),
    401: _error("The token is missing, wrong or expired"),
    403: _error("A page of this origin may not do this"),
    404: _error("There is no such thing"),
    422: _error("A parameter is unknown or out of range"),
    503: _error("The database cannot be read at the moment"),
}
# What the guard before all routes refuses.
ALWAYS = {"4XX": _error("Refused before it was looked at: token, Host, Origin or size")}


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _cell(value: object) -> object:
    match value:
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return _ENCODER.encode(value).decode()
        case str() if FORMULA.match(value) and NUMBER.fullmatch(value) is None:
            return f"'{value}"
        case _:
            return value
