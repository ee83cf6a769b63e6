"""All settings with their defaults, and what must hold between them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from liqctl.chain.fees import priority_fee_lamports
from liqctl.chain.urls import websocket_url
from liqctl.config.values import (
    MONIKERS,
    AgeS,
    Bps,
    Channels,
    DatabaseUrl,
    Dollars,
    FeedId,
    HermesUrl,
    Host,
    Hosts,
    JumpBps,
    Keypair,
    Lamports,
    LogLevel,
    Multiple,
    Origins,
    ProgramId,
    RpcUrl,
    RpcUrls,
    Share,
    SourcesOfMarket,
    Symbols,
    Tables,
    Venues,
    Whole,
    WsUrl,
)
from liqctl.core.price_terms import SourceName
from liqctl.core.venue_choice import venue_choices


class MarketSettings(BaseModel):
    """What is different about the prices of one market; what is left out is as everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feed_id: FeedId = None
    price_sources: SourcesOfMarket = None
    price_sources_min: Annotated[Whole, Field(ge=1, le=len(SourceName))] | None = None
    price_max_age_s: AgeS | None = None
    price_max_confidence_bps: Bps | None = None
    price_max_jump_bps: JumpBps | None = None
    price_band_bps: Bps | None = None
    price_confidence_multiple_permille: Multiple | None = None


class Settings(BaseModel):
    """All settings of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    rpc_url: RpcUrl = MONIKERS["mainnet-beta"]
    rpc_fallback_urls: RpcUrls = ()
    send_urls: RpcUrls = ()
    ws_url: WsUrl = ""
    rpc_requests_per_s: Annotated[Whole, Field(ge=1, le=100_000)] = 200
    keypair: Keypair = "~/.config/solana/id.json"
    commitment: Literal["processed", "confirmed", "finalized"] = "confirmed"
    venue: Venues = ("reference",)
    program_id: ProgramId = None
    idl: str | None = None
    mapping: str | None = None
    database_url: DatabaseUrl = "sqlite:liquidation_engine.db"

    check_interval_ms: Annotated[Whole, Field(ge=100, le=3_600_000)] = 2_000
    price_cache_ms: Annotated[Whole, Field(ge=0, le=60_000)] = 2_000
    insurance_interval_ms: Annotated[Whole, Field(ge=500, le=3_600_000)] = 10_000
    price_max_age_s: AgeS = 60
    price_max_confidence_bps: Bps = 100
    price_max_jump_bps: JumpBps = 1_000
    price_band_bps: Bps = 100
    price_confidence_multiple_permille: Multiple = 1_000
    hermes_url: HermesUrl = None
    hermes_api_key_file: str | None = None
    markets: Annotated[dict[str, MarketSettings], Tables] = Field(default_factory=dict)

    priority_fee_micro_lamports_per_cu: Annotated[Whole, Field(ge=0, le=10**12)] = 1_000_000
    priority_fee_mode: Literal["fixed", "dynamic"] = "fixed"
    priority_fee_percentile: Annotated[Whole, Field(ge=1, le=100)] = 75
    fee_above_reward: bool = False
    compute_unit_limit: Annotated[Whole, Field(ge=1_000, le=1_400_000)] = 200_000
    compute_unit_margin_percent: Annotated[Whole, Field(ge=0, le=1_000)] = 20
    max_retries: Annotated[Whole, Field(ge=0, le=20)] = 3
    max_in_flight: Annotated[Whole, Field(ge=1, le=256)] = 4
    queue_capacity: Annotated[Whole, Field(ge=1, le=10_000_000)] = 10_000

    max_fee_lamports: Lamports = 200_000
    spend_hour_lamports: Lamports = 50_000_000
    spend_day_lamports: Lamports = 500_000_000
    min_balance_lamports: Lamports = 50_000_000
    markets_allow: Symbols = ()
    markets_deny: Symbols = ()
    min_reward: Annotated[Whole, Field(ge=0, le=10**18)] = 0
    profit_floor_permille: Annotated[Whole, Field(ge=0, le=1_000_000)] = 1_000
    sol_price_usd: Dollars = None
    max_sends_per_s: Annotated[Whole, Field(ge=1, le=1_000)] = 20
    breaker_failures_max: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    breaker_unprofitable_max: Annotated[Whole, Field(ge=1, le=1_000)] = 3
    shadow_rate: Share = 0.0

    alert_channels: Channels = ()
    alert_channels_file: str | None = None
    alert_min_fund_bps: Annotated[Whole, Field(ge=0, le=10_000)] = 500
    alert_max_failed_bps: Annotated[Whole, Field(ge=0, le=10_000)] = 500
    alert_min_attempts: Annotated[Whole, Field(ge=1, le=1_000_000)] = 5
    alert_window_s: Annotated[Whole, Field(ge=60, le=86_400)] = 600
    alert_max_latency_ms: Annotated[Whole, Field(ge=1, le=60_000)] = 100
    alert_max_rpc_errors_per_minute: Annotated[Whole, Field(ge=0, le=1_000_000)] = 10
    alert_max_price_gap_s: Annotated[Whole, Field(ge=1, le=86_400)] = 60
    alert_min_balance_lamports: Lamports = 100_000_000
    alert_max_uncovered: Annotated[Whole, Field(ge=0, le=10**18)] = 0
    alert_resolve_after_s: Annotated[Whole, Field(ge=0, le=86_400)] = 60
    alert_repeat_after_s: Annotated[Whole, Field(ge=60, le=2_592_000)] = 14_400
    alert_digest_hour_utc: Annotated[Whole, Field(ge=0, le=23)] = 8

    server_host: Host = "127.0.0.1"
    server_port: Annotated[Whole, Field(ge=1, le=65_535)] = 8080
    server_token_file: str | None = None
    server_connections: Annotated[Whole, Field(ge=1, le=100_000)] = 512
    server_connections_per_address: Annotated[Whole, Field(ge=1, le=100_000)] = 32
    cors_origins: Origins = ()
    allowed_hosts: Hosts = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    log_level: LogLevel = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @property
    def rpc_urls(self) -> tuple[str, ...]:
        """The endpoints to read from, each once, the preferred one first."""
        return tuple(dict.fromkeys((self.rpc_url, *self.rpc_fallback_urls)))

    @property
    def ws_urls(self) -> tuple[str, ...]:
        """The WebSocket endpoints, each once: the first one's, then those of the fallbacks."""
        return tuple(dict.fromkeys((self.ws_url, *map(websocket_url, self.rpc_urls[1:]))))

    @property
    def priority_fee_lamports(self) -> int:
        """The priority fee of one transaction, rounded up as the chain does."""
        return priority_fee_lamports(
            self.compute_unit_limit, self.priority_fee_micro_lamports_per_cu
        )

    @property
    def sol_price_e6(self) -> int | None:
        """The configured price of SOL in 1e-6 quote, exactly."""
        if self.sol_price_usd is None:
            return None
        whole, _, places = self.sol_price_usd.partition(".")
        return int(f"{whole}{places:0<6}")

    @property
    def price_sources(self) -> tuple[SourceName, ...]:
        """Where prices come from in markets that say nothing else, the preferred source first."""
        hermes = () if self.hermes_url is None else (SourceName.HERMES,)
        return (SourceName.PROGRAM, *hermes)

    @model_validator(mode="after")
    def _venues_agree(self) -> Self:
        own = self.mapping is not None
        if not self.venue and not own:
            raise ValueError("venue must name at least one")
        venue_choices(self.venue, own=own, program=self.program_id)
        return self

    @model_validator(mode="after")
    def _sources_agree(self) -> Self:
        if self.hermes_api_key_file is not None and self.hermes_url is None:
            raise ValueError("hermes_api_key_file needs hermes_url, the service that it is for")
        for symbol, own in self.markets.items():
            sources = own.price_sources or self.price_sources
            if SourceName.HERMES in sources and self.hermes_url is None:
                raise ValueError(f"markets.{symbol}.price_sources names hermes; set hermes_url")
            if (own.price_sources_min or 1) > len(sources):
                raise ValueError(
                    f"markets.{symbol}.price_sources_min must be at most {len(sources)}, the number"
                    f" of its sources, was {own.price_sources_min}"
                )
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.priority_fee_lamports > self.max_fee_lamports:
            raise ValueError(
                f"max_fee_lamports must be at least {self.priority_fee_lamports}, the priority fee of"
                f" one transaction, was {self.max_fee_lamports}"
            )
        if self.spend_hour_lamports > self.spend_day_lamports:
            raise ValueError(
                f"spend_hour_lamports must not exceed spend_day_lamports ({self.spend_day_lamports}),"
                f" was {self.spend_hour_lamports}"
            )
        return self
