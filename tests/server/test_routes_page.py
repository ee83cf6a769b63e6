import re
from pathlib import Path

import pytest

from tests.server.world import application, asking

STATIC = Path(__file__).parents[2] / "liqctl" / "server" / "static"


async def test_the_page_is_kept_by_browsers_and_asked_for_again(client):
    first = await client.get("/")
    again = await client.get("/", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_the_page_and_its_files_hold_no_figures_and_need_no_token(full_file):
    async with asking(application(full_file, host="0.0.0.0")) as client:  # noqa: S104 - told, not bound
        page = await client.get("/")
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        answers = [await client.get(path) for path in (*named, "/favicon.ico")]
        refused = await client.get("/prices")

    assert len(named) >= 5
    assert {each.status_code for each in answers} == {200}
    assert answers[-1].headers["content-type"] == "image/svg+xml"
    assert refused.status_code == 401


async def test_a_file_outside_of_the_folder_is_not_to_be_had(client):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/vendor"):
        assert (await client.get(path)).status_code == 404


def test_markup_has_no_script_and_no_style_of_its_own():
    markup = (STATIC / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"<style|\sstyle=|\son\w+=", markup)
    assert re.findall(r"<script[^>]*>([^<]+)", markup) == []


@pytest.mark.parametrize("file", sorted(STATIC.glob("*.js")), ids=lambda file: file.name)
def test_a_module_makes_no_markup_and_names_no_other_host_but_the_explorer(file):
    code = file.read_text(encoding="utf-8")

    assert not re.search(
        r"innerHTML\s*=|outerHTML\s*=|insertAdjacentHTML|document\.write|eval\(", code
    )
    assert set(re.findall(r"https?://([\w.]+)", code)) <= {"explorer.solana.com"}
    assert set(re.findall(r'from "(.*?)"', code)) <= {
        f"./{each.name}" for each in STATIC.glob("*.js")
    }
