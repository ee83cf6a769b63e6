"""What a mutant is: a faulty variant of the product, switched on by name, and who must notice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from liqctl.errors import SettingsError, invariant
from liqctl.sim.swarm import Swarm

Part: TypeAlias = Any
"""Whatever the product hands to what was put in place of its own: an object, or an argument."""

_MISSING = object()
CONTROL, UNMASKED = "control", "unmasked"


class Patches:
    """Replaces attributes of the product's modules and classes until `undo`."""

    def __init__(self) -> None:
        """Nothing is replaced yet."""
        self._before: list[tuple[Part, str, object]] = []

    def set(self, owner: Part, name: str, value: object) -> Part:
        """Replace an attribute and return what was there.

        A function that a module imported by name is an attribute of that module.

        Raises:
            InvariantError: the owner has no such attribute; the product was changed.
        """
        invariant(hasattr(owner, name), f"{owner} has no {name} to replace")
        before = vars(owner).get(name, _MISSING)
        self._before.append((owner, name, before))
        found = getattr(owner, name)
        setattr(owner, name, value)
        return found

    def undo(self) -> None:
        """Put everything back, the last first."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


Patch = Callable[[Patches], None]


def _nothing(_patches: Patches) -> None:
    return None


def _same(swarm: Swarm) -> Swarm:
    return swarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A faulty variant. Any one of the codes in `caught_by` must be reported against it.

    `patch` makes the product faulty; `unmask` switches off other layers that would hide that, and
    `text` says which. `swarm` raises the faults that bring it to light. `fast`: found within a few
    seeds, so that every push can afford it.
    """

    name: str
    text: str
    caught_by: tuple[str, ...]
    patch: Patch
    unmask: Patch = _nothing
    swarm: Callable[[Swarm], Swarm] = _same
    fast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How seeds are to be run under one name: with which patches, in which world."""

    caught_by: tuple[str, ...]
    swarm: Callable[[Swarm], Swarm]
    patches: tuple[Patch, ...]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Apply the patches for a while."""
        patches = Patches()
        try:
            for patch in self.patches:
                patch(patches)
            yield
        finally:
            patches.undo()


def variant_of(mutants: Mapping[str, Mutant], name: str) -> Variant:
    """Return what a name stands for.

    NAME is the mutant with the layers that mask it off, NAME/unmasked is the product with just
    these layers off, and NAME/control the product as it is in the mutant's world.

    Raises:
        SettingsError: there is none of this name.
    """
    bare, _, form = name.partition("/")
    mutant = mutants.get(bare)
    if mutant is None or form not in {"", CONTROL, UNMASKED}:
        raise SettingsError(f"there is no faulty variant {name}")
    patches = {"": (mutant.unmask, mutant.patch), UNMASKED: (mutant.unmask,), CONTROL: ()}[form]
    return Variant(caught_by=mutant.caught_by, swarm=mutant.swarm, patches=patches)


def by_name(*groups: tuple[Mutant, ...]) -> Mapping[str, Mutant]:
    """Return the mutants of all groups by name, in the order of the names.

    Raises:
        InvariantError: two have the same name, or one can be caught by nothing.
    """
    found: dict[str, Mutant] = {}
    for mutant in (mutant for group in groups for mutant in group):
        invariant(mutant.name not in found, f"two mutants are called {mutant.name}")
        invariant(mutant.caught_by, f"nothing catches {mutant.name}")
        found[mutant.name] = mutant
    return MappingProxyType(dict(sorted(found.items())))
