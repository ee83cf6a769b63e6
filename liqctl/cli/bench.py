"""`liqctl bench`: what a tick, a verdict and a decode cost here, each beside a rival in one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Json, NoColor, whole_number

if TYPE_CHECKING:
    from liqctl.core.engine import Engine
    from liqctl.core.position import Position
    from liqctl.core.price import PriceReading

app = command_app()

PRICE = 150_000_000
ROUNDS = 15
MAINTENANCE_BPS = 50
RIVAL_SHARE = 50
CALM = PRICE + 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement: ours, the rival's, and how many times the rival costs."""

    type: str = "bench"
    name: str
    n: int
    k: int
    value: float
    unit: str
    baseline: float
    baseline_name: str
    ratio: float


@app.command(epilog="Examples: liqctl bench; liqctl bench --positions 1000000 --json")
def bench(
    *,
    positions: Annotated[
        int, typer.Option("--positions", metavar="N", help="How many positions are held.")
    ] = 100_000,
    as_json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Measure liqctl on this machine."""
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help

    whole_number("--positions", positions, 1_000, 2_000_000)
    screen = Screen(no_color=no_color)
    rows = []
    for figure in _figures(positions):
        if as_json:
            screen.json(figure)
        rows.append(figure)
    if not as_json:
        screen.table(
            ("measure", "n", "k", "liqctl", "rival", "what the rival does", "ratio"),
            [
                (
                    f.name,
                    f"{f.n:,}",
                    f.k,
                    f"{f.value:,.1f} {f.unit}",
                    f"{f.baseline:,.1f} {f.unit}",
                    f.baseline_name,
                    f"{f.ratio:,.1f}x",
                )
                for f in rows
            ],
            right=("n", "k", "liqctl", "rival", "ratio"),
        )


def _figures(n: int) -> Iterator[Figure]:
    small, large = _engine(1_000, plain=False), _engine(n, plain=False)
    plain = _engine(n, plain=True)
    for k in (0, 10):
        yield _compare(
            "tick",
            (n, k),
            lambda k=k: _tick(large, k),  # type: ignore[misc]
            ("a walk over all liquidation prices", lambda k=k: _tick(plain, k)),  # type: ignore[misc]
        )
    yield _compare(
        "tick at 1,000 positions",
        (1_000, 10),
        lambda: _tick(small, 10),
        (f"the same at {n:,} positions", lambda: _tick(large, 10)),
    )
    yield _decoding(min(n, 2_000))
    yield _columns(min(n, 10_000))
    yield _scan(n)
    yield from _recording()
    yield _serving()
    yield from _streaming()


def _scan(n: int) -> Figure:
    """Return what a scan of n perpetuals positions takes, beside a mere decoding of some."""
    from liqctl.cli.bench_scan import scans  # noqa: PLC0415 - 300 ms, not for --help

    rival_n = max(1, n // RIVAL_SHARE)
    scan, general = scans(n, rival_n)
    label = f"the general IDL coder, only decoding {rival_n:,} of them"
    return _compare("scan perpetuals positions", (n, 0), scan, (label, general), rounds=3)


def _recording() -> Iterator[Figure]:
    """Yield what record-before-send costs, typically and in the worst hundredth."""
    from liqctl.cli.bench_record import COMMITS, recording_us  # noqa: PLC0415 - not for --help

    durable, loose = recording_us(Path())
    for name, share in (("record before send, p50", 0.5), ("record before send, p99", 0.99)):
        ours, rival = (float(times[int(share * len(times))]) for times in (durable, loose))
        yield Figure(
            name=name,
            n=COMMITS,
            k=0,
            value=ours,
            unit="us",
            baseline=rival,
            baseline_name="the same commit without waiting for the disk",
            ratio=rival / ours,
        )


def _serving() -> Figure:
    """Return what a page of 100 liquidations costs when the API is asked without a pause."""
    from liqctl.cli.bench_server import REQUESTS, ROWS, page_us  # noqa: PLC0415 - not for --help

    ours, bare = page_us(Path())
    return Figure(
        name="page of liquidations over HTTP",
        n=REQUESTS,
        k=ROWS,
        value=ours,
        unit="us",
        baseline=bare,
        baseline_name="bare Starlette and msgspec",
        ratio=bare / ours,
    )


def _streaming() -> Iterator[Figure]:
    """Yield how long a thousand clients wait for one another, and one client for an event."""
    from liqctl.cli import bench_websocket as stream  # noqa: PLC0415 - not for --help

    found = stream.streamed(Path(), stream.CLIENTS, stream.ROUNDS, stream.EVENTS)
    ours = found.spread_us[stream.NUDGED]
    for kind, rival in (
        (stream.BARE, "Starlette with a queue for each client"),
        (stream.BROADCAST, "the broadcast of the package websockets"),
    ):
        yield Figure(
            name="first to last of WebSocket clients",
            n=stream.CLIENTS,
            k=1,
            value=ours,
            unit="us",
            baseline=found.spread_us[kind],
            baseline_name=rival,
            ratio=found.spread_us[kind] / ours,
        )
    for kind, times in found.latency_us.items():
        how, promised_us = stream.PROMISED[kind]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            value = float(times[int(share * len(times))])
            yield Figure(
                name=f"record to client, {how}, {name}",
                n=len(times),
                k=1,
                value=value,
                unit="us",
                baseline=promised_us,
                baseline_name="what is promised",
                ratio=promised_us / value,
            )


def _compare(
    name: str,
    size: tuple[int, int],
    ours: Callable[[], object],
    rival: tuple[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
) -> Figure:
    """Return the medians of both, measured in turn."""
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    clock = SystemClock()
    mine: list[int] = []
    theirs: list[int] = []
    for _ in range(rounds):
        for call, times in ((ours, mine), (rival[1], theirs)):
            started_ns = clock.monotonic_ns()
            call()
            times.append(clock.monotonic_ns() - started_ns)
    value, baseline = median(mine) / 1_000, median(theirs) / 1_000
    return Figure(
        name=name,
        n=size[0],
        k=size[1],
        value=value,
        unit="us",
        baseline=baseline,
        baseline_name=rival[0],
        ratio=baseline / value,
    )


def _tick(engine: "Engine", k: int) -> None:
    """Apply a price that crosses k positions, then one that crosses none, as two later slots."""
    from liqctl.core.account import Seen  # noqa: PLC0415 - with the core only
    from liqctl.core.events import AccountsSeen  # noqa: PLC0415 - with the core only

    seen = engine.view["price"]
    reading = seen.value
    crossing = PRICE + 1 - k if k else CALM - 1
    for step, value in enumerate((crossing, CALM), start=1):
        moved = replace(_as_reading(reading), mantissa=value)
        event = AccountsSeen(
            seen=(Seen(address="price", slot=seen.slot + step, value=moved),), received_ns=1
        )
        engine.apply(event, 0)


def _as_reading(value: object) -> "PriceReading":
    from liqctl.core.price import PriceReading  # noqa: PLC0415 - with the core only
    from liqctl.errors import InvariantError  # noqa: PLC0415 - with the core only

    if not isinstance(value, PriceReading):
        raise InvariantError("the price account of the bench holds no price")
    return value


def _engine(n: int, *, plain: bool) -> "Engine":
    """Return an engine over n longs of one market; the i-th falls at PRICE - i, the rest far away."""
    from liqctl.core.account import Seen  # noqa: PLC0415 - with the core only
    from liqctl.core.book import PlainBook  # noqa: PLC0415 - with the core only
    from liqctl.core.engine import Engine  # noqa: PLC0415 - with the core only
    from liqctl.core.events import AccountsSeen, ClockSeen  # noqa: PLC0415 - with the core only
    from liqctl.core.position import Market  # noqa: PLC0415 - with the core only
    from liqctl.core.price import PriceReading, PriceRules  # noqa: PLC0415 - with the core only
    from liqctl.core.queue import Queue  # noqa: PLC0415 - with the core only
    from liqctl.keeper.book import ColumnBook  # noqa: PLC0415 - 125 ms, not for --help
    from liqctl.venues.reference_layout import MarketRecord  # noqa: PLC0415 - 150 ms
    from liqctl.venues.registry import open_venue  # noqa: PLC0415 - 150 ms, not for --help

    tiers = ((100, MAINTENANCE_BPS),)
    record = MarketRecord(
        rules=PriceRules(owner="pyth", feed_id="", age_s_max=60, confidence_bps_max=100),
        profit_pool=0,
        open_interest_long=0,
        open_interest_short=0,
        position_count=n,
        min_reward=0,
        min_position_notional=0,
        liquidation_fee_bps=20,
        liquidator_share_bps=5_000,
        target_health_bps=12_500,
        tiers=tiers,
    )
    market = Market(
        address="market",
        symbol="SOL",
        price_account="price",
        paused=False,
        max_price_age_s=60,
        bound_terms=tiers,
        record=record,
    )
    reading = PriceReading(
        address="price",
        owner="pyth",
        feed_id="",
        mantissa=CALM,
        exponent=-6,
        confidence=1,
        publish_time=1_000,
        fully_verified=True,
        posted_slot=1,
    )
    engine = Engine(open_venue("reference", None), PlainBook() if plain else ColumnBook(), Queue())
    engine.apply(ClockSeen(slot=1, unix_timestamp=1_000), 0)
    held = [Seen(address=p.address, slot=1, value=p) for p in _positions(n)]
    first = (
        Seen(address="market", slot=1, value=market),
        Seen(address="price", slot=1, value=reading),
    )
    engine.apply(AccountsSeen(seen=(*first, *held)), 0)
    return engine


def _positions(n: int) -> "Iterator[Position]":
    from liqctl.core.fixed import BPS  # noqa: PLC0415 - with the core only
    from liqctl.core.position import Position, Side  # noqa: PLC0415 - with the core only

    for number in range(n):
        falls_at = PRICE - number if number < 1_000 else PRICE // 2
        margin = -(-falls_at * MAINTENANCE_BPS // BPS)
        yield Position(
            address=f"position {number}",
            owner="owner",
            market="market",
            side=Side.LONG,
            size=10**9,
            entry_price_e6=falls_at - margin + 1,
            collateral=0,
            leverage=100,
            generation=1,
        )


def _decoding(n: int) -> Figure:
    """Return what decoding n position accounts costs, beside the general coder for IDLs."""
    from liqctl.core.account import Account  # noqa: PLC0415 - with the core only
    from liqctl.venues.idl import anchorpy_coder  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.venues.reference_layout import REFERENCE_IDL  # noqa: PLC0415 - 150 ms
    from liqctl.venues.registry import open_venue  # noqa: PLC0415 - 150 ms, not for --help

    venue, coder = open_venue("reference", None), anchorpy_coder(REFERENCE_IDL.raw)
    layout = REFERENCE_IDL.account_layout("Position")
    fields = dict.fromkeys(layout.names, 1) | {
        "owner": bytes(32),
        "market": bytes(32),
        "padding": bytes(5),
    }
    body = REFERENCE_IDL.account_discriminator("Position") + layout.write(fields)
    account = Account(address="position", owner=venue.program_id, lamports=1, data=body, slot=1)

    def ours() -> None:
        for _ in range(n):
            venue.decode(account)

    def general() -> None:
        for _ in range(n):
            coder.accounts.decode(body)

    return _compare("decode positions", (n, 0), ours, ("the general IDL coder", general))


def _columns(n: int) -> Figure:
    """Return what all fields of n accounts cost as columns, beside the general coder."""
    from liqctl.venues.idl import anchorpy_coder  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.venues.reference_layout import REFERENCE_IDL  # noqa: PLC0415 - 150 ms

    coder = anchorpy_coder(REFERENCE_IDL.raw)
    layout = REFERENCE_IDL.account_layout("Position")
    head = REFERENCE_IDL.account_discriminator("Position")
    blobs = [head + number.to_bytes(8, "little") * (layout.size // 8) for number in range(n)]

    def ours() -> None:
        REFERENCE_IDL.columns("Position", blobs)

    def general() -> None:
        for blob in blobs:
            coder.accounts.decode(blob)

    # A round of the rival takes a second: the median of three says as much.
    rival = ("the general IDL coder", general)
    return _compare("decode accounts into columns", (n, 0), ours, rival, rounds=3)
