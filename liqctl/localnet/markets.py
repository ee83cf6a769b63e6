"""The markets of the scenario: names, Pyth feeds, start prices and rules."""

from dataclasses import dataclass

from solders.pubkey import Pubkey

from liqctl.localnet.publisher import price_account_of

MAJOR_TIERS = ((5, 1_000), (10, 500), (20, 250), (50, 100))
MINOR_TIERS = ((5, 1_200), (10, 600), (20, 300))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSpec:
    """What a market is made of; `volatility_ppm` is the standard deviation of one slot.

    `tiers` are (leverage up to, maintenance margin in bps). The feed is Pyth's own for that asset
    and the price account lies where Pyth publishes it on mainnet.
    """

    symbol: str
    feed_id: str
    start_price_e8: int
    volatility_ppm: int
    tiers: tuple[tuple[int, int], ...]

    @property
    def feed(self) -> bytes:
        """The 32 bytes of the feed id."""
        return bytes.fromhex(self.feed_id)

    @property
    def price_account(self) -> Pubkey:
        """Where the price is published."""
        return price_account_of(self.feed)

    @property
    def leverages(self) -> tuple[int, ...]:
        """The highest leverage of each tier."""
        return tuple(leverage for leverage, _ in self.tiers)

    def maintenance_bps(self, leverage: int) -> int:
        """Return the maintenance margin of a leverage that a tier allows."""
        return next(bps for leverage_max, bps in self.tiers if leverage <= leverage_max)


CATALOGUE = (
    MarketSpec(
        symbol="SOL",
        feed_id="ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d",
        start_price_e8=150_00000000,
        volatility_ppm=400,
        tiers=MAJOR_TIERS,
    ),
    MarketSpec(
        symbol="BTC",
        feed_id="e62df6c8b4a85fe1a67db44dc12de5db330f7ac66b72dc658afedf0f4a415b43",
        start_price_e8=65_000_00000000,
        volatility_ppm=250,
        tiers=MAJOR_TIERS,
    ),
    MarketSpec(
        symbol="ETH",
        feed_id="ff61491a931112ddf1bd8147cd1b641375f79f5825126d665480874634fd0ace",
        start_price_e8=3_200_00000000,
        volatility_ppm=300,
        tiers=MAJOR_TIERS,
    ),
    MarketSpec(
        symbol="JUP",
        feed_id="0a0408d619e9380abad35060f9192039ed5042fa6f82301d0e48bb52be830996",
        start_price_e8=85000000,
        volatility_ppm=300,
        tiers=MINOR_TIERS,
    ),
    MarketSpec(
        symbol="JTO",
        feed_id="b43660a5f790c69354b0729a5ef9d50d68f1df92107540210b9cccba1f947cc2",
        start_price_e8=2_50000000,
        volatility_ppm=300,
        tiers=MINOR_TIERS,
    ),
    MarketSpec(
        symbol="PYTH",
        feed_id="0bbf28e9a841a1cc788f6a361b17ca072d0ea3098a1e5df1c3922d06719579ff",
        start_price_e8=35000000,
        volatility_ppm=300,
        tiers=MINOR_TIERS,
    ),
    MarketSpec(
        symbol="SUI",
        feed_id="23d7315113f5b1d3ba7a83604c44b94d79f4fd69af77f804fc7f920a6dc65744",
        start_price_e8=3_40000000,
        volatility_ppm=260,
        tiers=MINOR_TIERS,
    ),
    MarketSpec(
        symbol="WIF",
        feed_id="4ca4beeca86f0d164160323817a4e42b10010a724c2217c6ee41b54cd4cc61fc",
        start_price_e8=1_90000000,
        volatility_ppm=350,
        tiers=MINOR_TIERS,
    ),
)
