"""Faulty variants of the product: the simulator has to find every one of them out."""

from collections.abc import Mapping

from liqctl.sim.mutants.caps import CAPS
from liqctl.sim.mutants.decision import DECISION
from liqctl.sim.mutants.expiry import EXPIRY
from liqctl.sim.mutants.progress import PROGRESS
from liqctl.sim.mutants.registry import Mutant, Variant, by_name, variant_of
from liqctl.sim.mutants.sending import SENDING
from liqctl.sim.mutants.store import HARMLESS as STORE_HARMLESS
from liqctl.sim.mutants.store import STORE

__all__ = ["HARMLESS", "MUTANTS", "Mutant", "variant"]

MUTANTS: Mapping[str, Mutant] = by_name(CAPS, DECISION, EXPIRY, PROGRESS, SENDING, STORE)
HARMLESS: Mapping[str, Mutant] = by_name(STORE_HARMLESS)
"""Variants that none of their codes may be reported against: layers that another one covers."""


def variant(name: str) -> Variant:
    """Return what a name stands for: a mutant, or one of its two controls.

    Raises:
        SettingsError: there is none of this name.
    """
    return variant_of({**MUTANTS, **HARMLESS}, name)
