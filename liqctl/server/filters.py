"""What each list can be asked for; a parameter with another name is refused, not passed over."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from liqctl.server.paging import CURSOR_LENGTH_MAX, PAGE, PAGE_MAX

# Any text a database column can hold: without control characters, which PostgreSQL refuses.
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Address = Annotated[
    str,
    Field(
        pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$",
        description="A public key in base58, such as `owner`.",
    ),
]
UnixS = Annotated[int, Field(ge=0, le=2**40)]
UnixMs = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Unfiltered(BaseModel):
    """Nothing: who names a filter here must not take the whole for what was asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paged(BaseModel):
    """How much of a list, and from where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="At most so many rows.")] = PAGE
    cursor: Annotated[
        str | None,
        Field(
            max_length=CURSOR_LENGTH_MAX,
            description="`next_cursor` of the page before, for the same filters.",
        ),
    ] = None

    def filters(self) -> dict[str, object]:
        """Return what chooses the rows, without what pages them."""
        return self.model_dump(exclude={"limit", "cursor"}, exclude_none=True)


class LiquidationFilter(Paged):
    """Which liquidations."""

    symbol: Annotated[Word | None, Field(description="Only this market.")] = None
    position: Annotated[Address | None, Field(description="Only this position.")] = None
    owner: Annotated[Address | None, Field(description="Only positions of this owner.")] = None
    venue: Annotated[Word | None, Field(description="Only this venue.")] = None
    kind: Annotated[
        Literal["full", "partial"] | None, Field(description="Only full or only partial ones.")
    ] = None
    since: Annotated[
        UnixS | None, Field(description="Not before this time of the chain, in unix seconds.")
    ] = None
    until: Annotated[
        UnixS | None, Field(description="Before this time of the chain, in unix seconds.")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since must not be later than until")
        return self


class FailureFilter(Paged):
    """Which failures."""

    symbol: Annotated[Word | None, Field(description="Only this market.")] = None
    position: Annotated[Address | None, Field(description="Only this position.")] = None
    failure_class: Annotated[Word | None, Field(description="Only this class.")] = None
    since_ms: Annotated[
        UnixMs | None, Field(description="Not before this time, in unix milliseconds.")
    ] = None
    until_ms: Annotated[
        UnixMs | None, Field(description="Before this time, in unix milliseconds.")
    ] = None


class AttemptFilter(Paged):
    """Which attempts."""

    position: Annotated[Address | None, Field(description="Only for this position.")] = None
    symbol: Annotated[Word | None, Field(description="Only this market.")] = None
    venue: Annotated[Word | None, Field(description="Only this venue.")] = None
    since_ms: Annotated[
        UnixMs | None, Field(description="Signed at this time or later, in unix milliseconds.")
    ] = None
    state: Annotated[
        Literal["SIGNED", "SENT", "SEEN", "FINALIZED_OK", "FINALIZED_ERR", "EXPIRED", "VOID"]
        | None,
        Field(description="Only in this state."),
    ] = None


class PositionFilter(Paged):
    """Which positions."""

    market: Annotated[Word | None, Field(description="Only this market, by its symbol.")] = None
    owner: Annotated[Address | None, Field(description="Only of this owner.")] = None
    venue: Annotated[Word | None, Field(description="Only this venue.")] = None


class QueueFilter(Paged):
    """Which candidates."""

    symbol: Annotated[Word | None, Field(description="Only this market.")] = None
    venue: Annotated[Word | None, Field(description="Only this venue.")] = None
    state: Annotated[
        Literal["waiting", "in_flight", "quarantined"] | None,
        Field(description="Only in this state."),
    ] = None


class AlertFilter(Paged):
    """Which alerts."""

    state: Annotated[Literal["firing"] | None, Field(description="Only those that hold now.")] = (
        None
    )


class EventFilter(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Annotated[
        int, Field(ge=0, le=2**53 - 1, description="Only events after this `seq`.")
    ] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="Look at so many.")] = PAGE
    type: Annotated[
        Literal["liquidation", "price_update", "insurance_fund", "queue", "alert"] | None,
        Field(description="Only of this type."),
    ] = None


class InsuranceFilter(BaseModel):
    """How much of the past."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="The latest so many.")] = 100


class StatsFilter(BaseModel):
    """Over which time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[
        int,
        Field(
            ge=1,
            le=3_660,
            description="Sums by day and market over so many days, today's included.",
        ),
    ] = 30
