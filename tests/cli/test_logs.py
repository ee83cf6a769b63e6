"""Logs go to stderr, in one format, without secrets and without forged lines."""

import json
import logging
from base64 import b64encode, urlsafe_b64encode
from contextlib import suppress

import pytest
import structlog
from solders.keypair import Keypair

from liqctl.cli.logs import CHATTY, TRACE, start_logging
from liqctl.cli.redact import redact

KEY = Keypair.from_seed(bytes(range(32)))
FULL_URL = "https://me:PW@rpc.example:8443/v2/K3YK3Y?api-key=K3YK3Y"


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in (*CHATTY, "liqctl.chain"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_our_events_and_those_of_libraries_share_one_format(capsys):
    start_logging("info", "json")

    structlog.get_logger("liqctl.keeper").info("attempt_sent", slot=7)
    logging.getLogger("library").warning("slow %s", "node")

    ours, theirs = lines(capsys)
    assert ours.pop("timestamp")
    assert theirs.pop("timestamp")
    assert ours == {"event": "attempt_sent", "slot": 7, "level": "info", "logger": "liqctl.keeper"}
    assert theirs == {"event": "slow node", "level": "warn", "logger": "library"}


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_leave_every_record(log_format, capsys):
    start_logging("info", log_format)

    structlog.get_logger("liqctl").error("call_failed", url=FULL_URL, api_key="K3YK3Y")
    logging.getLogger("library").error("GET %s, Authorization: Bearer K3YK3YK3Y", FULL_URL)
    with suppress(ValueError):
        try:
            int(f"{FULL_URL} and {list(range(64))}")
        finally:
            structlog.get_logger("liqctl").exception("call_failed")

    err = capsys.readouterr().err
    assert err.count("https://rpc.example:8443/...") >= 3
    assert "[redacted]" in err
    for secret in ("K3Y", "PW", "12, 13, 14"):
        assert secret not in err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_variable_of_a_failing_function_is_shown(log_format, capsys):
    start_logging("trace", log_format)

    def fail(secret: str) -> None:
        raise ValueError(len(secret))

    try:
        fail("K3YK3Y" * 2)
    except ValueError:
        structlog.get_logger("liqctl").exception("call_failed")
        logging.getLogger("library").exception("call failed")

    err = capsys.readouterr().err
    assert err.count("ValueError: 12") == 2
    assert "K3YK3YK3YK3Y" not in err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_foreign_text_cannot_forge_a_line(log_format, capsys):
    start_logging("info", log_format)

    structlog.get_logger("liqctl").info(
        "account_refused", symbol="SOL\n\x1b[2Jliquidation", key="\u202e"
    )

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_levels_go_by_logger_as_in_rust_log(capsys):
    start_logging("warn,liqctl::chain=debug", "json")

    structlog.get_logger("liqctl.chain").debug("seen")
    structlog.get_logger("liqctl.keeper").info("not_seen")

    assert [line["event"] for line in lines(capsys)] == ["seen"]


@pytest.mark.parametrize("name", CHATTY)
def test_libraries_that_log_whole_urls_stay_quiet_unless_asked_for(name, capsys):
    start_logging("trace", "json")
    logging.getLogger(name).info("not seen")
    logging.getLogger("other").log(TRACE, "seen")
    start_logging(f"info,{name}=debug", "json")
    logging.getLogger(name).debug("asked for")

    assert [(line["event"], line["level"]) for line in lines(capsys)] == [
        ("seen", "trace"),
        ("asked for", "debug"),
    ]


def test_a_closed_stderr_does_not_stop_the_program(monkeypatch, tmp_path):
    stream = (tmp_path / "gone").open("w")
    monkeypatch.setattr("sys.stderr", stream)
    start_logging("info", "json")
    stream.close()

    structlog.get_logger("liqctl").info("nowhere")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://localhost:8899/health", "http://localhost:8899/health"),
        ("http://127.0.0.1:8899/?key=a", "http://127.0.0.1:8899/..."),
        ("wss://[2001:db8::1]:9/secret", "wss://[2001:db8::1]:9/..."),
        ("postgresql://u:p@db.example/books", "postgresql://db.example/..."),
        ("password=hunter2, next", "password=[redacted], next"),
        ('{"secret": "abc", "slot": 5}', '{"secret": "[redacted]", "slot": 5}'),
        ("tokens 5, token program Tokenkeg", "tokens 5, token program Tokenkeg"),
        ("[1, 2, 3]", "[1, 2, 3]"),
        ("http://localhost:8899/v2/K3Y", "http://localhost:8899/..."),
        ("http://localhost:8899/v2/K3Y?a=b", "http://localhost:8899/..."),
        ("got Basic dXNlcjpwYXNz", "got Basic [redacted]"),
        ("the basic settings are in order", "the basic settings are in order"),
        (f"key {KEY}.", "key [redacted]."),
        (f'{{"key":"{bytes(KEY).hex()}"}}', '{"key":"[redacted]"}'),
        (f"key {b64encode(bytes(KEY)).decode()}", "key [redacted]"),
        (f"key {urlsafe_b64encode(bytes(KEY)).decode()[:-2]}", "key [redacted]"),
        (f"signed {KEY.sign_message(b'')}", f"signed {KEY.sign_message(b'')}"),
        (f"hash {'ab' * 64}", f"hash {'ab' * 64}"),
    ],
)
def test_what_is_taken_out_and_what_stays(text, shown):
    assert redact(text) == shown
