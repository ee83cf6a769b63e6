"""What an operator asks of a market's prices before anything is sent on them."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.price_policy import AGE_S_MAX, CONFIDENCE_BPS_MAX, PERMILLE, SOURCE_BAND_BPS

JUMP_BPS_MAX = 1_000


class SourceName(StrEnum):
    """Where a price may come from, by what it is to the market.

    The program's own account is what the verdict is made of; push feeds are accounts that anybody
    may read; Hermes is a service off the chain.
    """

    PROGRAM = "program"
    PUSH_FEED = "push_feed"
    HERMES = "hermes"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTerms:
    """The terms of one market. Sources stand in order of preference; the program's is among them.

    At least `sources_min` of them must have a price; where two are further than `band_bps_max`
    apart, a position must be liquidatable at each of them.
    `feed_id` names the price where the program's own account does not. Age, confidence and jump
    are limits of the program's own account; the age of other sources is that of their kind.
    `confidence_permille` / 1,000 is the multiple of the confidence that a position must stay
    liquidatable over, 0 asks for nothing.
    """

    sources: tuple[SourceName, ...] = (SourceName.PROGRAM,)
    sources_min: int = 1
    feed_id: str | None = None
    age_s_max: int = AGE_S_MAX
    confidence_bps_max: int = CONFIDENCE_BPS_MAX
    jump_bps_max: int = JUMP_BPS_MAX
    band_bps_max: int = SOURCE_BAND_BPS
    confidence_permille: int = PERMILLE
