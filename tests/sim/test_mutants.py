"""Mutants: the registry is sound, patches go away again, and the fast set is found out (30 s)."""

import pytest

from liqctl.errors import InvariantError, SettingsError
from liqctl.sim.checkers import all_checkers
from liqctl.sim.mutants import MUTANTS, variant
from liqctl.sim.mutants.hunt import hunt
from liqctl.sim.mutants.registry import Mutant, Patches, by_name
from liqctl.sim.swarm import Swarm

FAST = [name for name, mutant in MUTANTS.items() if mutant.fast]
SEEDS = range(1, 13)
MINE = {f"M{number}" for number in range(38, 57)} - {"M53"}


class Owner:
    """Somebody whose attribute is replaced."""

    kept = "own"


class Heir(Owner):
    """Somebody whose attribute is another one's."""


def test_a_patch_is_undone_even_where_the_attribute_was_inherited():
    patches = Patches()
    assert patches.set(Heir, "kept", "new") == "own"
    patches.set(Owner, "kept", "newer")
    assert (Heir.kept, Owner.kept) == ("new", "newer")
    patches.undo()
    assert (Heir.kept, Owner.kept) == ("own", "own")
    assert "kept" not in vars(Heir)


def test_a_patch_of_what_the_product_no_longer_has_is_refused():
    with pytest.raises(InvariantError, match="gone"):
        Patches().set(Owner, "gone", None)


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_can_be_switched_on_and_leaves_nothing_behind(name):
    first: dict[tuple[int, str], tuple[object, object]] = {}

    class Noted(Patches):
        def set(self, owner, name, value):
            first.setdefault((id(owner), name), (owner, getattr(owner, name)))
            return super().set(owner, name, value)

    patches = Noted()
    try:
        for patch in variant(name).patches:
            patch(patches)
        assert any(getattr(owner, key) != was for (_, key), (owner, was) in first.items())
    finally:
        patches.undo()
    assert all(getattr(owner, key) == was for (_, key), (owner, was) in first.items())


def test_the_registry_has_what_was_promised_and_every_code_has_a_checker():
    codes = {checker.code for checker in all_checkers()}
    assert set(MUTANTS) >= MINE
    assert all(set(mutant.caught_by) <= codes for mutant in MUTANTS.values())
    assert len({mutant.text for mutant in MUTANTS.values()}) == len(MUTANTS)


def test_two_mutants_of_one_name_are_refused():
    mutant = Mutant(name="M1", text="", caught_by=("CAP",), patch=lambda _: None)
    with pytest.raises(InvariantError, match="M1"):
        by_name((mutant,), (mutant,))


def test_a_control_is_the_product_in_the_same_world():
    mutant, control, unmasked = (variant(f"M44{form}") for form in ("", "/control", "/unmasked"))
    assert mutant.swarm(Swarm.of(1)) == control.swarm(Swarm.of(1))
    assert (len(mutant.patches), len(unmasked.patches), len(control.patches)) == (2, 1, 0)


@pytest.mark.parametrize("name", ["", "M0", "M44/other"])
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(SettingsError, match="no faulty variant"):
        variant(name)


@pytest.mark.parametrize("name", FAST)
def test_a_fast_mutant_is_found_out(name):
    found = hunt(name, SEEDS)
    assert found.by in MUTANTS[name].caught_by


@pytest.mark.parametrize("name", ["M38/control", "M54/control", "X11/control"])
def test_the_product_in_the_world_of_a_mutant_keeps_its_promises(name):
    assert not hunt(name, range(1, 3)).killed
