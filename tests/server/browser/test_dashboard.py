import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from liqctl.chain.clusters import CLUSTERS
from liqctl.core.alert import Alert, AlertState, Severity
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.server.browser.stage import CHROMIUM, NAME, TOKEN, WAIT_S, Running, browser, chain, until
from tests.store import records

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH"),
    pytest.mark.timeout(120),
]

WAIT_MS = WAIT_S * 1_000
DEVNET = next(genesis for genesis, name in CLUSTERS.items() if name == "devnet")
expect.set_options(timeout=WAIT_MS)
TAB_STOPS_MAX = 200
MARKUP = '<img src="/x" onerror="window.hacked = 1"><script>window.hacked = 1</script>'
# The browser itself writes these about answers and connections; they are no faults of the page.
OF_THE_BROWSER = (
    "Failed to load resource",
    "WebSocket connection to",
    "The Cross-Origin-Opener-Policy header has been ignored",
)
CSP_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with chain(tmp_path_factory.mktemp("dashboard")) as started:
        yield started


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@dataclass
class Opened:
    """A page with the addresses it has asked and the faults it has shown."""

    page: Page
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(OF_THE_BROWSER):
            self.faults.append(message.text)

    def check(self) -> None:
        """It has raised nothing, kept its own policy, asked only its server, and not begun anew."""
        assert self.faults + self.page.evaluate("window.violations") == []
        assert {urlsplit(each).netloc for each in self.asked} == {urlsplit(self.page.url).netloc}
        assert self.page.evaluate("window.loadedOnce") is True


@contextmanager
def opened(chromium: Browser, url: str, **options: Any) -> Iterator[Opened]:
    context = chromium.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(CSP_WATCH)
    page = context.new_page()
    shown = Opened(page)
    page.on("request", lambda request: shown.asked.append(request.url))
    page.on("websocket", lambda socket: shown.asked.append(socket.url))
    page.on("pageerror", lambda error: shown.faults.append(str(error)))
    page.on("console", shown.heard)
    page.goto(url)
    page.evaluate("window.loadedOnce = true")
    try:
        yield shown
        shown.check()
    finally:
        context.close()


@pytest.fixture(scope="module")
def shared(running: Running, chromium: Browser) -> Iterator[Opened]:
    """One page for all tests that can share one: it must live through all of them."""
    wide = {"width": 1440, "height": 1000}
    with opened(chromium, running.url, viewport=wide, reduced_motion="reduce") as shown:
        expect(shown.page.locator("#link")).to_have_text("live")
        yield shown


@pytest.fixture
def page(shared: Opened) -> Iterator[Page]:
    yield shared.page
    shared.check()


def decimal(value: int | str, places: int, least: int = 2) -> str:
    """Return what the page must show for an integer; written apart from what it checks."""
    whole, rest = divmod(abs(int(value)), 10**places)
    fraction = f"{rest:0{places}}" if places else ""
    while len(fraction) > least and fraction[-1] == "0":
        fraction = fraction[:-1]
    return (
        ("\u2212" if int(value) < 0 else "") + f"{whole:,}" + (f".{fraction}" if fraction else "")
    )


def rows(page: Page, table: str) -> list[list[str]]:
    """Return the texts of a table; an address in full, as its button copies it."""
    found: list[list[str]] = page.evaluate(
        """(table) => [...document.querySelectorAll(`#${table} tbody tr:not(.empty)`)].map((row) =>
          [...row.cells].map((cell) =>
            cell.querySelector("[data-text]")?.dataset.text ?? cell.textContent))""",
        table,
    )
    return found


def text(page: Page, name: str) -> str:
    return page.locator(f"#{name}").text_content() or ""


def agree(shown: Callable[[], object], told: Callable[[], object]) -> None:
    """Wait until the page shows what the API says, both while the figures move."""
    deadline = time.monotonic() + WAIT_MS / 1_000
    while True:
        before, on_page, after = told(), shown(), told()
        if on_page in (before, after):
            return
        assert time.monotonic() < deadline, f"page {on_page}\nAPI  {after}"
        time.sleep(0.05)


def enter(page: Page, token: str) -> None:
    """Give the page a token."""
    page.fill("#token", token)
    page.keyboard.press("Enter")


def control(page: Page, name: str) -> None:
    """Use one side of the kill switch, confirmation included."""
    page.locator(f"#{name}").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#switch-result")).to_contain_text(f"{name} is set")


def test_a_crash_unfolds_without_a_reload(page: Page, running: Running) -> None:
    enter(page, TOKEN)
    control(page, "stop")
    expect(page.locator("#grade")).to_have_text("degraded")
    expect(page.locator("#reasons tbody")).to_contain_text("nothing is signed")
    expect(page.locator("#keepers tbody")).to_contain_text("stopped")
    until(page, "() => document.querySelectorAll('#queue tbody tr:not(.empty)').length >= 5")
    done, fund = int(text(page, "liquidated")), text(page, "fund-balance")

    control(page, "resume")
    expect(page.locator("#grade")).to_have_text("healthy")
    until(
        page, "done => Number(document.querySelector('#liquidated').textContent) >= done + 5", done
    )
    until(page, "fund => document.querySelector('#fund-balance').textContent !== fund", fund)
    agree(lambda: {row[12] for row in rows(page, "liquidations")}, lambda: _signatures(running))


def test_the_kill_switch_needs_a_token_and_a_confirmation(
    running: Running, chromium: Browser
) -> None:
    with opened(chromium, running.url) as shown:
        page, stop = shown.page, shown.page.locator("#stop")
        expect(page.locator("#grade")).to_have_text("healthy")
        assert stop.is_disabled()

        enter(page, TOKEN)
        stop.click()
        page.keyboard.press("Escape")
        stop.click()
        page.locator("#confirm-no").click()

        assert text(page, "switch-result") == ""
        assert not [each for each in shown.asked if "/control/" in each]
        assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]


def _signatures(running: Running) -> set[str]:
    return {each["signature"] for each in _items(running, "/liquidations/recent?limit=20")}


def _items(running: Running, path: str) -> list[dict[str, Any]]:
    found: Any = running.get(path)["items"]
    return list(found)


def test_figures_on_the_page_are_those_of_the_api(page: Page, running: Running) -> None:
    agree(
        lambda: [(row[0], row[2]) for row in rows(page, "prices")],
        lambda: [(p["symbol"], decimal(p["price"], 6)) for p in _items(running, "/prices")],
    )
    agree(
        lambda: [(row[0], row[5], row[7], row[8]) for row in rows(page, "positions")],
        lambda: [
            (
                p["position"],
                f"{decimal(p['distance_bps'], 2)} %",
                decimal(p["liquidation_price"], 6),
                decimal(p["equity"], 6),
            )
            for p in _items(running, "/positions?limit=12")
        ],
    )
    names = ("liquidated", "rewards", "bad-debt", "fund-balance", "positions-count", "queued")
    agree(lambda: [text(page, name) for name in names], lambda: _sums(running))
    agree(lambda: rows(page, "days")[0][2], lambda: _sums(running)[1])
    agree(lambda: text(page, "fund-read").split(", ", 1)[1], lambda: _sums(running)[3])


def _sums(running: Running) -> list[str]:
    totals: Any = running.get("/stats")["totals"]
    balance: Any = running.get("/insurance/balance")["balance"]
    keepers: Any = running.get("/health")["keepers"]
    queue: Any = running.get("/liquidations/pending")
    return [
        f"{totals['full'] + totals['partial']:,}",
        decimal(totals["rewards"], 6),
        decimal(totals["bad_debt"], 6),
        decimal(balance, 6),
        f"{keepers['reference']['coverage']['positions']:,}",
        f"{queue['waiting'] + queue['in_flight'] + queue['quarantined']:,}",
    ]


def test_transactions_link_to_an_explorer_where_the_cluster_is_public(
    page: Page, running: Running
) -> None:
    assert page.locator("#liquidations a").count() == 0
    with closing(open_store(running.database_url, create=False)) as store:
        private = store.state("genesis")
        store.put_state("genesis", f'"{DEVNET}"', 1)
        expect(page.locator("#cluster")).to_have_text("devnet")
        links = page.locator("#liquidations a").evaluate_all("all => all.map((one) => one.href)")
        store.put_state("genesis", private[0] if private else "", 1)

    signatures = [each["signature"] for each in _items(running, "/liquidations/recent?limit=20")]
    assert set(links) & {f"https://explorer.solana.com/tx/{s}?cluster=devnet" for s in signatures}


def test_an_amount_beyond_what_a_float_holds_keeps_every_digit(page: Page) -> None:
    shown = page.evaluate(
        """async () => {
          const { money, sol, decimal } = await import("/static/format.js");
          return [money("36893488147419103233"), money(-5), money(2500000), sol(1), decimal(7, 0, 0)];
        }"""
    )

    assert shown == ["36,893,488,147,419.103233", "\u22120.000005", "2.50", "0.000000001 SOL", "7"]


def test_markup_in_data_stays_text(page: Page, running: Running) -> None:
    with closing(open_store(running.database_url, create=False)) as store:
        _plant(store)

    for table in ("prices", "positions", "queue", "alerts"):
        expect(page.locator(f"#{table} tbody")).to_contain_text(MARKUP)
    assert page.evaluate("window.hacked") is None
    assert page.locator("tbody img, tbody script").count() == 0


def _plant(store: Store) -> None:
    """Write rows of another venue whose words are markup."""
    store.put_prices([records.price_row("planted", venue="planted", symbol=MARKUP, refusal=MARKUP)])
    planted = records.position_row("planted", 0.01, venue="planted", symbol=MARKUP)
    store.put_positions([planted], [])
    store.put_queue([records.queue_row("planted", 0.01, venue="planted", reason=MARKUP)], [])
    alert = Alert(
        rule="planted",
        subject=MARKUP,
        severity=Severity.CRITICAL,
        state=AlertState.FIRING,
        title=MARKUP,
        body=MARKUP,
        raised_ms=1_700_000_000_000,
    )
    store.put_alert(alert, [], "{}")


def test_every_table_and_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """() => [
          ...[...document.querySelectorAll("table")].filter((table) =>
            !table.caption?.textContent.trim() || !table.querySelector("thead th[scope=col]")),
          ...[...document.querySelectorAll("button, a, input, summary")].filter((control) =>
            !(control.ariaLabel || control.textContent.trim() || control.labels?.length)),
          ...[...document.querySelectorAll("section, dialog")].filter((part) =>
            !(part.ariaLabel || part.getAttribute("aria-labelledby") || part.querySelector("caption"))),
          ...[...document.querySelectorAll("[role=img]")].filter((part) => !part.ariaLabel),
        ].map((element) => element.outerHTML.slice(0, 120))"""
    )

    assert nameless == []
    assert page.locator("main, header, nav").count() == 3
    assert page.locator("[aria-live], [role=status], [role=alert]").count() <= 6


def test_the_keyboard_reaches_every_control(page: Page) -> None:
    enter(page, TOKEN)
    expect(page.locator("#resume")).to_be_enabled()
    assert page.evaluate("document.querySelector('a, button, input').className") == "skip"

    page.locator(".skip").focus()
    wanted = ["theme", "stop", "resume", "token"]
    reached: list[str] = []
    while len(reached) < TAB_STOPS_MAX and wanted[-1] not in reached:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))

    assert [name for name in reached if name in wanted] == wanted


def test_a_row_that_moves_keeps_the_focus(page: Page) -> None:
    kept = page.evaluate(
        """async () => {
          const { copyable, fillTable } = await import("/static/tables.js");
          const body = document.createElement("tbody");
          document.querySelector("#days table").closest("details").open = true;
          document.querySelector("#days table").append(body);
          const fill = (names) => fillTable(body, names, (name) => name, [copyable((name) => name, "x")], "");
          fill(["one", "two"]);
          const button = body.rows[1].querySelector("button");
          button.focus();
          fill(["two", "zero", "one"]);
          const found = [document.activeElement === button, body.rows[0].contains(button)];
          body.remove();
          return found;
        }"""
    )

    assert kept == [True, True]


def test_text_stands_out_in_both_themes(page: Page) -> None:
    themes = []
    for _ in range(2):
        page.locator("#theme").click()
        themes.append((text(page, "theme"), page.evaluate("getComputedStyle(document.body).color")))
        assert page.evaluate(LOW_CONTRAST) == []
    page.locator("#theme").click()

    assert [name for name, _ in themes] == ["Theme: light", "Theme: dark"]
    assert themes[0][1] != themes[1][1]


# Each visible text against the nearest background below it, by the formula of WCAG 2.
LOW_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const below = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = rgba(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const [high, deep] = [rgba(getComputedStyle(element).color), below(element)]
      .map((each) => light(each.slice(0, 3))).sort((a, b) => b - a);
    const ratio = (high + 0.05) / (deep + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 90)}`);
  }
  return low;
}"""


def test_a_server_that_was_killed_is_missed_and_comes_back(
    page: Page, shared: Opened, running: Running
) -> None:
    asked = len(shared.asked)
    with running.killed_server():
        expect(page.locator("#link")).to_have_text("reconnecting")
        expect(page.locator("#grade")).to_have_text("unknown")
        expect(page.locator("#stale")).to_contain_text("Stale since")
        assert page.locator("[data-of]:not(.stale)").count() == 0

    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("[data-of].stale")).to_have_count(0)
    assert [each for each in shared.asked[asked:] if each.startswith("ws:") and "since=" in each]
    agree(lambda: text(page, "positions-count"), lambda: _sums(running)[4])


def test_a_phone_shows_it_without_scrolling_sideways(running: Running, chromium: Browser) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with opened(chromium, running.url, **phone) as shown:
        page = shown.page
        page.wait_for_selector("#positions tbody .copy")
        page.wait_for_selector("#fund-chart canvas")

        assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]


def test_by_a_name_that_is_not_loopback_it_asks_for_a_token(
    running: Running, chromium: Browser
) -> None:
    with opened(chromium, f"http://{NAME}:{running.port}") as shown:
        page = shown.page
        expect(page.locator("#token-needed")).to_be_visible()
        expect(page.locator("#link")).to_have_text("token needed")
        assert rows(page, "positions") == []

        enter(page, "wrong" * 5)
        expect(page.locator("#token-needed")).to_contain_text("The token is wrong")

        enter(page, TOKEN)
        expect(page.locator("#link")).to_have_text("live")
        page.wait_for_selector("#positions tbody .copy")


def test_figures_of_a_keeper_that_is_silent_do_not_look_current(
    page: Page, running: Running
) -> None:
    with running.silent_keeper():
        expect(page.locator("#stale")).to_contain_text("no word from the keeper of reference")
        expect(page.locator("#grade")).to_have_text("unhealthy")
        expect(page.locator("#keepers tbody tr.old")).to_contain_text("silent")
        expect(page.locator("#prices tbody tr.old")).to_have_count(3)
        expect(page.locator("[data-keeper]:not(.stale)")).to_have_count(0)

    expect(page.locator("#stale")).to_be_hidden()
