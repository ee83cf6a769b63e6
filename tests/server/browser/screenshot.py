"""Make the pictures of the page: `python -m tests.server.browser.screenshot docs`."""

import sys
import tempfile
from pathlib import Path

from tests.server.browser.stage import browser, chain, until

# A crash that is well under way: much is done, and something is in flight.
UNDER_WAY = """() =>
  Number(document.querySelector("#liquidated").textContent.replaceAll(",", "")) >= 60 &&
  document.querySelectorAll("#queue tbody .copy").length >= 3"""


def main(folder: Path) -> None:
    """Write `dashboard.png` and `dashboard-dark.png` in the middle of a crash."""
    with tempfile.TemporaryDirectory() as place, chain(Path(place)) as running, browser() as shown:
        page = shown.new_page(reduced_motion="reduce")
        page.set_viewport_size({"width": 1440, "height": 1400})
        page.goto(running.url)
        until(page, UNDER_WAY)
        page.screenshot(path=folder / "dashboard.png")
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(2_000)
        until(page, UNDER_WAY)
        page.screenshot(path=folder / "dashboard-dark.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
