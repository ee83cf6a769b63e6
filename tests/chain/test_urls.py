"""URLs: the WebSocket twin, secrets."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.chain.urls import (
    checked_rpc_url,
    checked_websocket_url,
    redacted,
    websocket_url,
    without_secrets,
)
from liqctl.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com:8899", "ws://example.com:8900"),
        ("http://example.com", "ws://example.com"),
        ("https://example.com/a?k=v", "wss://example.com/a?k=v"),
        ("https://u:p@example.com:443/", "wss://u:p@example.com:444/"),
        ("http://[::1]:8899", "ws://[::1]:8900"),
    ],
)
def test_the_port_grows_by_one_only_where_the_url_names_a_port(url, expected):
    assert websocket_url(url) == expected


def test_the_last_port_has_no_websocket_twin():
    with pytest.raises(SettingsError, match="--ws"):
        websocket_url("http://127.0.0.1:65535")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://rpc.example/SECRET", "https://rpc.example/…"),
        ("https://SECRET:SECRET@rpc.example:8443/?k=SECRET#SECRET", "https://rpc.example:8443/…"),
        ("http://[::1]:8899/SECRET", "http://[::1]:8899/…"),
        ("SECRET", "…"),
        ("http://[SECRET", "…"),
    ],
)
def test_only_scheme_host_and_port_are_shown(url, shown):
    assert redacted(url) == shown


@given(st.text(max_size=30))
def test_any_text_can_be_redacted_and_checked(text):
    redacted(text)
    without_secrets(text, "https://rpc.example/" + "key" * 3)
    with contextlib.suppress(SettingsError):
        websocket_url(text)


@pytest.mark.parametrize("secret", ["tokentoken", "apikey", "pass", "user"])
def test_no_part_of_a_url_that_may_be_a_key_stays_in_a_text(secret):
    url = "https://user:pass@rpc.example/v2/tokentoken?k=apikey"

    assert secret not in without_secrets(f"about {secret} or {url}", url)


def test_a_header_that_a_node_repeats_is_no_part_of_a_text():
    header = base64.b64encode(b"user:pa/ss").decode()

    assert header not in without_secrets(f"Basic {header}", "https://user:pa%2Fss@rpc.example/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_text_stays_on_this_host(host):
    assert checked_rpc_url(f"http://{host}:8899", allow_plain=False)
    assert checked_websocket_url(f"ws://{host}:8900", allow_plain=False)


@pytest.mark.parametrize(
    "host", ["rpc.example", "127.0.0.1.example", "10.0.0.1", "localhost.example"]
)
def test_plain_text_to_another_host_must_be_allowed(host):
    with pytest.raises(SettingsError, match="is not encrypted; use https"):
        checked_rpc_url(f"http://{host}/", allow_plain=False)
    with pytest.raises(SettingsError, match="is not encrypted; use wss"):
        checked_websocket_url(f"ws://{host}/", allow_plain=False)
    assert checked_rpc_url(f"http://{host}/", allow_plain=True)
    assert checked_rpc_url(f"https://{host}/", allow_plain=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://rpc.exämple/",
        "https://rpc.example/ä",
        "https://a..example/",
        f"https://{'a' * 64}.example",
    ],
)
def test_a_url_that_cannot_be_sent_as_it_is_says_how_to_write_it(url):
    with pytest.raises(SettingsError, match="cannot be sent as it is; write the host in ASCII"):
        checked_rpc_url(url, allow_plain=False)
