"""What there is to see of a running keeper, as one value that other processes read."""

from dataclasses import dataclass, replace

import msgspec

from liqctl.core.events import Coverage
from liqctl.errors import StoreError

STATE_PREFIX = "keeper:"
DISTANCES_BPS = (50, 100, 200, 500, 1_000, 2_000)
# Of what is counted for each endpoint, the kinds of calls that ended badly by its doing.
RPC_ERROR_KINDS = ("unreachable", "malformed", "failing", "denied", "busy", "unable", "lies")


def state_name(venue: str) -> str:
    """Return the name under which the store keeps the status of a venue's keeper.

    >>> state_name("reference")
    'keeper:reference'
    """
    return f"{STATE_PREFIX}{venue}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many observations were at most each bound; `count` and `sum` are over all of them."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    count: int
    sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source of a market's price: what it says, how old and how sure, and why it is not used.

    Without a price to read all figures are None. A source that has jumped waits for a later price
    that agrees with it.
    """

    source: str
    address: str
    price_e6: int | None
    age_s: int | None
    confidence_bps: int | None
    refusal: str | None
    jumped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesStatus:
    """How the price service does: why there is no stream now, if so, and what was met so far."""

    url: str
    down: str | None
    prices_age_ms: int | None
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStatus:
    """One market: its mark price or the word why there is none, and what was published.

    Age and confidence are those of the published price, accepted or not; None where there is
    none to read. The source is the kind of account that it stands in. With a `doubt` nothing is
    sent in the market, whatever its verdicts, except what is liquidatable at each of several
    sources that disagree; `sources` are all that its terms name, in order.
    """

    symbol: str
    market: str
    price_e6: int | None
    refusal: str | None
    max_price_age_s: int
    confidence_e6: int | None
    confidence_bps: int | None
    publish_time_s: int | None
    age_s: int | None
    source: str | None
    slot: int
    sources: tuple[SourceStatus, ...] = ()
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Decision latency over the latest attempts: price notice received to signed bytes sent."""

    count: int
    p50_us: int | None
    p99_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """What the liquidator has; None for the balance until it was read once."""

    address: str
    balance_lamports: int | None
    read_age_ms: int | None
    min_lamports: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Fees and rent, paid or at most still due, beside the caps; None until it was read once."""

    hour_lamports: int | None
    day_lamports: int | None
    hour_lamports_max: int
    day_lamports_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """How many positions are at most this far from being liquidatable, counted by their bounds.

    A bound is never farther away than the exact liquidation price, so none is missed. Positions
    without a bound count as near.
    """

    within_bps: int
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How the process itself does: the latest maxima are over the last 10 to 20 seconds."""

    loop_lag_us_max: int
    mailbox_depth_max: int
    batch_us: Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A verdict of ours that the program did not share, both of one state of the chain.

    `by` is what the program was asked by, "view" or "liquidation"; `exact` is False where ours
    was an estimate.
    """

    position: str
    ours: bool
    theirs: bool
    exact: bool
    by: str
    slot: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The keeper at one moment; money in 1e-6 quote, ages in milliseconds.

    Counts are since the start of the process; `failed` leaves out what was not tried because the
    database could not record it. An age is None when it never happened; `streams`
    has none where the keeper only polls. `collateral_total` is what all positions hold together.
    `failing_ms` is how long the database has been failing. `rpc` has for each endpoint, as it may
    be printed, how often what happened; `rpc_errors_minute` is how many calls failed in the last
    minute.
    `decision_us` is from the notice of a price to the wire; `landing_ms` from that notice to the
    first sight of the transaction in a block, `landing_slots` from the slot of the decision to
    that block. The `shadow` figures are of verdicts that the program itself was asked about.
    """

    venue: str
    program_id: str
    owner: str
    dry_run: bool
    watch_only: bool
    uptime_ms: int
    check_interval_ms: int
    reconcile_interval_ms: int

    slot: int
    slot_age_ms: int
    cluster_time_s: int
    markets: tuple[MarketStatus, ...]
    coverage: Coverage
    near: tuple[Near, ...]
    collateral_total: int

    waiting: int
    quarantined: int
    evicted: int
    in_flight: int
    unconfirmed: int
    oldest_in_flight_ms: int | None
    held: str | None
    held_ms: int | None

    wallet: Wallet | None
    spent: Spent
    fund_balance: int | None
    fund_address: str | None
    bad_debt_covered: int | None
    bad_debt_uncovered: int | None

    full: int
    partial: int
    failed: int
    lost_races: int
    expired: int
    refused: dict[str, int]
    attempts: int

    rpc: dict[str, dict[str, int]]
    rpc_errors: int
    rpc_errors_minute: int
    store_errors: int
    failing_ms: int | None
    events_dropped: int
    streams_down: int
    streams: dict[str, int | None]

    snapshot_age_ms: int | None
    notice_age_ms: int | None
    check_age_ms: int | None
    latency: Latency
    decision_us: Histogram
    landing_ms: Histogram
    landing_slots: Histogram
    pulse: Pulse

    shadow_checked: int = 0
    shadow_disagreements: int = 0
    shadow_incomparable: int = 0
    shadow_last: Disagreement | None = None

    hermes: HermesStatus | None = None

    def as_json(self) -> dict[str, object]:
        """Return plain values for JSON."""
        plain: dict[str, object] = msgspec.to_builtins(self)
        return plain

    def older(self, by_ms: int) -> "Status":
        """Return the same after so many milliseconds in which nothing was heard of the keeper."""
        return replace(
            self,
            slot_age_ms=self.slot_age_ms + by_ms,
            streams={name: _sum(age, by_ms) for name, age in self.streams.items()},
            markets=tuple(_older(market, by_ms // 1_000) for market in self.markets),
            snapshot_age_ms=_sum(self.snapshot_age_ms, by_ms),
            notice_age_ms=_sum(self.notice_age_ms, by_ms),
            check_age_ms=_sum(self.check_age_ms, by_ms),
        )

    @property
    def fund_share_bps(self) -> int | None:
        """The fund as a share of the positions' collateral, rounded down; None without either."""
        if self.fund_balance is None or self.collateral_total <= 0:
            return None
        return self.fund_balance * 10_000 // self.collateral_total


def status_text(status: Status) -> str:
    """Return a status as JSON, which `read_status` takes."""
    return msgspec.json.encode(status).decode()


def read_status(text: str) -> Status:
    """Return the status that a keeper wrote.

    Raises:
        StoreError: it is none; written by another version, most likely.
    """
    try:
        return msgspec.json.decode(text, type=Status)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise StoreError(
            f"the state of a keeper cannot be read ({error}); "
            "run keeper and reader in the same version"
        ) from error


def _older(market: MarketStatus, by_s: int) -> MarketStatus:
    sources = (replace(each, age_s=_sum(each.age_s, by_s)) for each in market.sources)
    return replace(market, age_s=_sum(market.age_s, by_s), sources=tuple(sources))


def _sum(age: int | None, by: int) -> int | None:
    return None if age is None else age + by
