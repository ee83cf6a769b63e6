"""The API's reference for people, made of its OpenAPI document: `python -m liqctl.server.apidoc`."""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from liqctl.server import stream_reference as stream

TITLE = "The API of liqctl"

REFERENCE = re.compile(r"\[\[(\w+)\]\]")

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; `anchor` is where links to it lead."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; code stands between backticks, and `[[X]]` leads to the object X."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header, of the same kind of text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Text | Table


def blocks(document: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the reference from top to bottom."""
    yield Heading(1, TITLE, "top")
    yield from map(Text, document["info"]["description"].split("\n\n"))
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    yield Table(
        ("route", "what"),
        tuple((f"`{method} {path}`", told["summary"]) for method, path, told in operations),
    )
    yield Heading(2, "Routes", "routes")
    for method, path, operation in operations:
        yield from _operation(method, path, operation)
    yield from _stream()
    yield Heading(2, "Objects", "objects")
    for name, schema in document["components"]["schemas"].items():
        yield from _object(name, schema)


def _stream() -> Iterator[Block]:
    yield Heading(2, "WebSocket", "websocket")
    yield from map(Text, stream.INTRODUCTION)
    frames = ((f"`{kind}`", fields, told) for kind, (fields, told) in stream.FRAMES.items())
    yield Table(("type", "further fields", "when"), tuple(frames))
    yield Table(("order", "what it does"), tuple(stream.ORDERS.items()))
    yield Table(("close code", "why"), tuple(stream.CLOSES.items()))


def markdown(document: Mapping[str, Any]) -> str:
    """Return the reference as a page of Markdown."""
    return "\n\n".join(map(_markdown, blocks(document))) + "\n"


def html(document: Mapping[str, Any]) -> str:
    """Return the reference as a page that loads nothing but one style sheet of this server."""
    body = "\n".join(map(_html, blocks(document)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{TITLE}</title>\n"
        '<link rel="stylesheet" href="/static/docs.css">\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def type_text(schema: Schema) -> str:
    """Return what a schema allows in a few words; `[[X]]` for an object that is told elsewhere.

    >>> type_text({"anyOf": [{"type": "integer"}, {"type": "null"}]})
    'integer or null'
    >>> type_text({"type": "integer", "minimum": 1, "maximum": 500})
    'integer from 1 to 500'
    """
    match schema:
        case {"$ref": str(reference)}:
            text = f"[[{reference.rpartition('/')[2]}]]"
        case {"anyOf": list(choices)}:
            text = " or ".join(map(type_text, choices))
        case {"const": value}:
            text = f"`{value}`"
        case {"enum": list(values)}:
            text = " or ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            text = f"list of {type_text(items)}"
        case {"type": "object", "additionalProperties": dict(inner)} if inner:
            text = f"object of {type_text(inner)}"
        case {"type": "integer", "minimum": low, "maximum": high}:
            text = f"integer from {low} to {high}"
        case {"type": str(kind)}:
            text = kind
        case _:
            text = "anything"
    return text


def _operation(method: str, path: str, operation: Schema) -> Iterator[Block]:
    yield Heading(3, f"{method} {path}", operation["operationId"])
    yield Text(operation["description"])
    if "security" in operation:
        yield Text("Needs a token, on loopback too: `Authorization: Bearer TOKEN`.")
    parameters = operation.get("parameters", ())
    if parameters:
        yield Table(("parameter", "type", "default", "what"), tuple(map(_parameter, parameters)))
    yield Table(
        ("status", "answer", "content"),
        tuple(
            (status, told["description"], _content(told.get("content", {})))
            for status, told in sorted(operation["responses"].items())
        ),
    )


def _parameter(parameter: Schema) -> tuple[str, ...]:
    schema = parameter["schema"]
    default = f"`{schema['default']}`" if "default" in schema else ""
    if parameter.get("required"):
        default = "required"
    told = parameter.get("description", schema.get("description", ""))
    return f"`{parameter['name']}`", type_text(schema), default, told


def _content(content: Mapping[str, Schema]) -> str:
    kinds = (
        type_text(told["schema"]) if kind == "application/json" else f"`{kind}`"
        for kind, told in content.items()
    )
    return ", ".join(kinds)


def _object(name: str, schema: Schema) -> Iterator[Block]:
    yield Heading(3, name, name)
    if "description" in schema:
        for paragraph in schema["description"].split("\n\n"):
            yield Text(" ".join(paragraph.split()))
    yield Table(
        ("field", "type"),
        tuple(
            (f"`{field}`", type_text(inner))
            for field, inner in schema.get("properties", {}).items()
        ),
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Text(text):
            return " ".join(text.split())
        case Table(header, rows):
            lines = [header, ("---",) * len(header), *rows]
            return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    told = text.replace("|", "\\|")
    return REFERENCE.sub(lambda found: f"[{found[1]}](#{found[1].lower()})", told)


def _html(block: Block) -> str:
    match block:
        case Heading(level, text, anchor):
            return f'<h{level} id="{escape(anchor)}">{escape(text)}</h{level}>'
        case Text(text):
            return f"<p>{_marked(text)}</p>"
        case Table(header, rows):
            head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
            body = "\n".join(
                "<tr>" + "".join(f"<td>{_marked(cell)}</td>" for cell in row) + "</tr>"
                for row in rows
            )
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _marked(text: str) -> str:
    """Return text as HTML, what stands between backticks as code."""
    linked = REFERENCE.sub(r'<a href="#\1">\1</a>', escape(text))
    parts = linked.split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def main() -> None:
    """Print the page that is docs/API.md."""
    from liqctl.server.app import create_app  # noqa: PLC0415 - the application imports this module
    from liqctl.server.options import ServeOptions  # noqa: PLC0415 - with the application only

    app = create_app(ServeOptions(database_url="sqlite::memory:"))
    sys.stdout.write(markdown(app.openapi()))


if __name__ == "__main__":
    main()
