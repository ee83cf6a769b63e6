"""Venues by name."""

import pytest

from liqctl.errors import SettingsError
from liqctl.ports import Venue
from liqctl.venues.registry import open_venue
from tests.venues import planted as at


def test_the_reference_venue_is_opened_by_name():
    venue = open_venue("reference", str(at.PROGRAM))

    assert isinstance(venue, Venue)
    assert (venue.id, venue.program_id) == ("reference", str(at.PROGRAM))


def test_an_unknown_venue_is_refused_with_those_that_exist():
    with pytest.raises(SettingsError, match=r"'drift'.*reference"):
        open_venue("drift", str(at.PROGRAM))


def test_a_program_id_that_is_no_key_is_refused():
    with pytest.raises(SettingsError, match="no public key"):
        open_venue("reference", "not-a-key")


def test_without_a_program_id_the_address_of_the_idl_is_meant():
    assert open_venue("reference", None).program_id == str(at.PROGRAM)
