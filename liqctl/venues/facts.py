"""What each built-in venue can do, and the interface that it was checked against."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from liqctl.venues.adrena_layout import ADRENA_IDL, KINDS
from liqctl.venues.idl import Idl
from liqctl.venues.jupiter import JUPITER_IDL, WHY_NOT
from liqctl.venues.mapping import VenueMap
from liqctl.venues.perpetuals_layout import PERPETUALS_IDL
from liqctl.venues.reference_layout import REFERENCE_IDL


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One venue: its abilities, and hash, date and account lengths of its verification.

    `verdict` is "exact" where the program's arithmetic is repeated, "estimate" where it is not, and
    "confirm" where an estimate counts as soon as the program's own view says the same;
    `account_bytes` is the length of each account of fixed size, `verified_on` None for never.
    `decides_confidence`: the program has its own rule for what to do about an uncertain price.
    Sizes have `size_digits` decimals and are in `size_unit`, "base" or "usd". The
    hashes are written down: an IDL that changes makes its test fail until it is verified anew.
    """

    venue: str
    can_liquidate: bool
    why_not: str | None
    verdict: str
    reward: str
    insurance_fund: bool
    idl_sha256: str
    verified_on: datetime.date | None
    account_bytes: Mapping[str, int]
    size_digits: int = 9
    size_unit: str = "base"
    decides_confidence: bool = False


def _sizes(idl: Idl, names: tuple[str, ...]) -> dict[str, int]:
    sizes = {name: idl.account_size(name) for name in names}
    return {name: size for name, size in sizes.items() if size is not None}


FACTS = {
    "reference": Facts(
        venue="reference",
        can_liquidate=True,
        why_not=None,
        verdict="exact",
        reward="token",
        insurance_fund=True,
        idl_sha256="f7c030ab568d1b30403ae88f376bf92dfa24d2f418aa0c2782e2e5b4b7632708",
        verified_on=datetime.date(2026, 11, 25),
        account_bytes=_sizes(REFERENCE_IDL, REFERENCE_IDL.account_names),
    ),
    "perpetuals": Facts(
        venue="perpetuals",
        can_liquidate=True,
        why_not=None,
        verdict="exact",
        reward="token",
        insurance_fund=False,
        idl_sha256="374c00bf83927b9daf3c8a4c4be20e344300df5927dcb34e7eea34cd438f8fbd",
        verified_on=datetime.date(2026, 11, 25),
        account_bytes=_sizes(PERPETUALS_IDL, ("Position", "Custody")),
        size_digits=6,
        size_unit="usd",
        decides_confidence=True,
    ),
    "adrena": Facts(
        venue="adrena",
        can_liquidate=True,
        why_not=None,
        verdict="confirm",
        reward="rent",
        insurance_fund=False,
        idl_sha256="71db6269081b9ac622f224fd6f01d4b6cf2eda5b8ce0dce7a551d2b11cdcce05",
        verified_on=None,
        account_bytes=_sizes(ADRENA_IDL, KINDS),
        size_digits=6,
        size_unit="usd",
        decides_confidence=True,
    ),
    "jupiter": Facts(
        venue="jupiter",
        can_liquidate=False,
        why_not=WHY_NOT,
        verdict="estimate",
        reward="none",
        insurance_fund=False,
        idl_sha256="035fe7267625b21d00d911812d854c7f1dc7479c1821f03bba56571bab367c48",
        verified_on=None,
        account_bytes=_sizes(JUPITER_IDL, ("Position", "Custody")),
        size_digits=6,
        size_unit="usd",
    ),
}


def facts_of(mapped: VenueMap) -> Facts:
    """Return the facts of a user's own program, as far as its mapping claims them."""
    return Facts(
        venue=mapped.name,
        can_liquidate=mapped.why_not is None,
        why_not=mapped.why_not,
        verdict="exact" if mapped.exact and mapped.maintenance is not None else "estimate",
        reward=mapped.reward,
        insurance_fund=mapped.insurance is not None,
        idl_sha256=mapped.idl.sha256,
        verified_on=mapped.verified,
        account_bytes=_sizes(mapped.idl, tuple(one.account for one in mapped.accounts)),
        size_digits=mapped.scales.size,
        size_unit="base" if mapped.scales.in_base else "usd",
    )
