"""Settings of the price sources: their order, the band, and a key that is never inline."""

from pathlib import Path

import pytest

from liqctl.config import Files, load
from liqctl.core.price import ON_CHAIN, PriceSource
from liqctl.errors import SettingsError

NO_FILES = Files(env_file=None, own=(), solana=Path("none"))


def loaded(**environment):
    variables = {f"LIQCTL_{name.upper()}": value for name, value in environment.items()}
    return load({}, variables, NO_FILES).settings


def test_without_settings_prices_come_from_the_chain_alone():
    settings = loaded()

    assert settings.price_sources == ON_CHAIN
    assert set(ON_CHAIN) == set(PriceSource) - {PriceSource.HERMES}
    assert settings.price_source_band_bps == 100
    assert settings.hermes_api_key_file is None
    assert settings.hermes_url.startswith("https://")


def test_sources_are_named_in_order():
    settings = loaded(price_sources="hermes, push_feed", price_source_band_bps="25")

    assert settings.price_sources == (PriceSource.HERMES, PriceSource.PUSH_FEED)
    assert settings.price_source_band_bps == 25


@pytest.mark.parametrize("names", [",", "hermes,hermes", "switchboard"])
def test_sources_that_are_none_or_stand_twice_are_refused(names):
    with pytest.raises(SettingsError, match="price_sources must"):
        loaded(price_sources=names)


def test_the_key_is_in_a_file_of_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")

    assert loaded(hermes_api_key_file="~/hermes.key").hermes_api_key_file == "/home/me/hermes.key"


@pytest.mark.parametrize("key", ["SECRET", "SECRET/abcdefghijklmnop", "Bearer SECRET"])
def test_a_key_in_place_of_a_file_is_refused_and_not_shown(key):
    with pytest.raises(SettingsError, match="not the key itself") as refusal:
        loaded(hermes_api_key_file=key)

    assert "SECRET" not in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["ftp://h", "https://me:SECRET@hermes.example/x", "https://hermes.example/?k=SECRET"]
)
def test_a_url_with_a_secret_in_it_is_refused_and_not_shown(url):
    with pytest.raises(SettingsError, match="hermes_url must") as refusal:
        loaded(hermes_url=url)

    assert "SECRET" not in str(refusal.value)
