"""How long the insurance fund lasts if it goes on losing as it did."""

from collections.abc import Sequence

from liqctl.core.record import InsuranceSample

RUNWAY_S_MAX = 100 * 365 * 86_400


def runway_s(samples: Sequence[InsuranceSample]) -> int | None:
    """Return the seconds until the fund is empty, rounded down, by what it paid for bad debt.

    The samples are of one fund, the oldest first; the rate is that from the first to the last of
    them. None where it paid nothing meanwhile, where there are too few samples to tell, and beyond
    100 years. Income and withdrawals do not count: neither can be relied on.
    """
    if len(samples) < 2:
        return None
    first, last = samples[0], samples[-1]
    took_ms = last.at_ms - first.at_ms
    paid = last.bad_debt_covered - first.bad_debt_covered
    if took_ms <= 0 or paid <= 0:
        return None
    seconds = last.balance * took_ms // (paid * 1_000)
    return seconds if seconds <= RUNWAY_S_MAX else None
