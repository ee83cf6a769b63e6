import re
from pathlib import Path

import msgspec

from liqctl.server import apidoc
from tests.server.world import application

PAGE = Path(__file__).parents[2] / "docs" / "API.md"


async def test_the_reference_in_the_documentation_is_up_to_date(full_file):
    made = apidoc.markdown(application(full_file).openapi())

    assert made == PAGE.read_text(encoding="utf-8"), (
        "run `python -m liqctl.server.apidoc > docs/API.md`"
    )


async def test_the_document_names_only_objects_that_it_has(client):
    document = (await client.get("/openapi.json")).text

    named = set(re.findall(r'"#/components/schemas/(\w+)"', document))
    assert named <= set(msgspec.json.decode(document)["components"]["schemas"])
    assert {"LiquidationPage", "LiquidationView", "ErrorAnswer"} <= named
    assert "HTTPValidationError" not in document


async def test_the_page_loads_nothing_from_anywhere_else(client):
    page = await client.get("/docs")

    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    loaded = [each for each in named if not each.startswith("#")]
    assert loaded == ["/static/docs.css"]
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert (await client.get(loaded[0])).headers["content-type"].startswith("text/css")


async def test_the_page_tells_of_every_route(client):
    page = (await client.get("/docs")).text
    document = (await client.get("/openapi.json")).json()

    for path, methods in document["paths"].items():
        for method in methods:
            assert f">{method.upper()} {path}</h3>" in page


async def test_objects_are_linked_to_where_they_are_told(client):
    page = (await client.get("/docs")).text

    linked = set(re.findall(r'href="#(\w+)"', page))
    assert {"LiquidationPage", "LiquidationView"} <= linked
    assert linked <= set(re.findall(r'id="(\w+)"', page))


def test_text_from_the_document_cannot_become_markup():
    page = apidoc.html(
        {
            "info": {"description": "<b>&`<i>`"},
            "paths": {},
            "components": {"schemas": {"A<b>": {"properties": {"<u>": {"type": "string"}}}}},
        }
    )

    assert not re.search(r"<[bui]>", page)
    assert "&lt;b&gt;&amp;<code>&lt;i&gt;</code>" in page
