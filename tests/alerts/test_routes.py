"""Channels as people write them, and the file that they may stand in."""

from pathlib import Path

import pytest

from liqctl.alerts.channel_file import SIZE_MAX, read_channel_file
from liqctl.alerts.routes import parse_route, parse_routes
from liqctl.core.alert import Severity
from liqctl.errors import SettingsError


@pytest.mark.parametrize(
    "text, name, least, url",
    [
        ("warning=slack://A/B/C", "slack", Severity.WARNING, "slack://A/B/C"),
        ("slack://A/B/C", "slack", Severity.WARNING, "slack://A/B/C"),
        ("oncall:critical=pagerduty://A@B", "oncall", Severity.CRITICAL, "pagerduty://A@B"),
        ("oncall:discord://1/t", "oncall", Severity.WARNING, "discord://1/t"),
        ("info=mailto://u:p%40w@h?to=a@b", "mailto", Severity.INFO, "mailto://u:p%40w@h?to=a@b"),
    ],
)
def test_a_channel_has_a_name_a_least_severity_and_a_url(text, name, least, url):
    route = parse_route(text)

    assert (route.name, route.least, route.url) == (name, least, url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SECRET",
        "warning=SECRET",
        "loud=slack://SECRET",
        "Upper:slack://SECRET",
        "slack://SECRET with blanks",
        "slack://SECRET\nslack://B",
        "warning=slack://",
    ],
)
def test_what_is_no_channel_is_refused_without_showing_it(text):
    with pytest.raises(SettingsError) as refused:
        parse_route(text)

    assert "SECRET" not in str(refused.value)
    assert str(refused.value).startswith("must ")


def test_a_route_does_not_show_its_url():
    assert "SECRET" not in repr(parse_route("slack://SECRET/B/C"))


def test_two_channels_of_one_name_are_refused_until_one_is_named():
    with pytest.raises(SettingsError, match="two are called slack"):
        parse_routes(["slack://A", "critical=slack://B"])

    routes = parse_routes(["slack://A", "oncall:critical=slack://B"])
    assert [route.name for route in routes] == ["slack", "oncall"]


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_file_has_one_channel_a_line(tmp_path):
    path = write(tmp_path / "channels", b"# ours\n\n info=slack://A \r\ncritical=pagerduty://A@B\n")

    assert read_channel_file(path) == ("info=slack://A", "critical=pagerduty://A@B")


@pytest.mark.parametrize(
    "content, mode, expected",
    [
        (b"slack://A", 0o640, "open to others"),
        (b"\xff\xfe", 0o600, "must be UTF-8"),
        (b"a" * (SIZE_MAX + 1), 0o600, "at most"),
        (b"# ours\n\nslack:/SECRET", 0o600, "channels, line 3, must look like SEVERITY=URL"),
        (b"slack://A\nloud=slack://B", 0o600, "line 2, must begin with one of info"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, content, mode, expected):
    with pytest.raises(SettingsError, match=expected):
        read_channel_file(write(tmp_path / "channels", content, mode))


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match="alert channel file"):
            read_channel_file(path)
