"""Every kind of channel, through apprise's real plugins, against receivers that really answer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from liqctl.alerts.channels import SEND_S_MAX, AppriseChannel, _opened
from liqctl.alerts.outbox import trial
from liqctl.alerts.routes import parse_route
from liqctl.core.alert import Delivery, Severity
from liqctl.errors import DeliveryError, SettingsError
from tests.alerts.receivers import (
    BROKEN,
    BUSY,
    DISCORD,
    HANGS,
    PAGERDUTY,
    SECRETS,
    SLACK,
    Answer,
    Mailbox,
    Receiver,
    reach,
)
from tests.keeper.stage import until

Opener = Callable[[str], AppriseChannel]
NO_CONTENT = Answer(status=204, body=b"")
ACCEPTED = Answer(status=202, body=b"{}")


@pytest.fixture
async def channel() -> AsyncIterator[Opener]:
    """Open channels that are closed at the end."""
    opened: list[AppriseChannel] = []

    def open_channel(text: str) -> AppriseChannel:
        opened.append(AppriseChannel(parse_route(text)))
        return opened[-1]

    yield open_channel
    for each in opened:
        each.close()


def message(severity: Severity = Severity.CRITICAL, *, resolves: bool = False) -> Delivery:
    return replace(
        trial("any", severity, 7),
        dedup_key="liqctl/wallet_low/reference/7",
        title="[critical] reference: the liquidator has 0.01 SOL left",
        body="Found: 0.01 SOL. Do: send it some SOL.",
        resolves=resolves,
    )


async def test_slack_gets_title_and_text_at_its_own_webhook(channel, monkeypatch):
    async with Receiver() as receiver:
        reach(monkeypatch, receiver)
        await channel(SLACK).notify(message())

    (request,) = receiver.requests
    assert (request.host, request.path) == (
        "hooks.slack.com",
        "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7vF",
    )
    assert "has 0.01 SOL left" in request.body.decode()
    assert "send it some SOL" in request.body.decode()


async def test_discord_gets_title_and_text_at_its_own_webhook(channel, monkeypatch):
    async with Receiver(NO_CONTENT) as receiver:
        reach(monkeypatch, receiver)
        await channel(DISCORD).notify(message())

    (request,) = receiver.requests
    assert request.host == "discord.com"
    assert request.path.startswith("/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js")
    assert "has 0.01 SOL left" in request.body.decode()


async def test_pagerduty_opens_and_resolves_one_incident_by_the_same_key(channel, monkeypatch):
    async with Receiver(ACCEPTED) as receiver:
        reach(monkeypatch, receiver)
        pagerduty = channel(PAGERDUTY)
        await pagerduty.notify(message())
        await pagerduty.notify(message(resolves=True))

    opened, resolved = (request.json for request in receiver.requests)
    assert {request.host for request in receiver.requests} == {"events.pagerduty.com"}
    assert opened["event_action"] == "trigger"
    assert opened["payload"]["severity"] == "critical"
    assert "has 0.01 SOL left" in opened["payload"]["summary"]
    assert opened["dedup_key"] == resolved["dedup_key"] == "liqctl/wallet_low/reference/7"
    assert resolved["event_action"] == "resolve"


async def test_a_webhook_gets_json_with_the_kind_of_message(channel):
    async with Receiver(NO_CONTENT) as receiver:
        webhook = channel(f"json://127.0.0.1:{receiver.port}/alerts?:team=risk")
        await webhook.notify(message(Severity.WARNING))
        await webhook.notify(message(resolves=True))

    raised, resolved = (request.json for request in receiver.requests)
    assert raised["title"] == "[critical] reference: the liquidator has 0.01 SOL left"
    assert raised["message"] == "Found: 0.01 SOL. Do: send it some SOL."
    assert (raised["type"], resolved["type"]) == ("warning", "success")
    assert raised["team"] == "risk"


async def test_a_mail_arrives_with_its_subject(channel):
    async with Mailbox() as mailbox:
        address = f"mailto://127.0.0.1:{mailbox.port}?from=keeper@example.org&to=ops@example.org"
        await channel(f"{address}&mode=insecure&format=text").notify(message())

    (mail,) = mailbox.mails
    assert "To: ops@example.org" in mail
    assert "has 0.01 SOL left" in " ".join(mail.split())


@pytest.mark.parametrize(
    "answer, text, refused",
    [
        (BUSY, "HTTP 429", False),
        (BROKEN, "HTTP 503", False),
        (Answer(status=404, body=b"no_service"), "HTTP 404", True),
        (Answer(status=302, body=b"", headers=("Location: http://127.0.0.1:1/",)), "302", False),
    ],
)
@pytest.mark.parametrize("url", [SLACK, DISCORD, PAGERDUTY, "jsons://127.0.0.1:{port}/hook"])
async def test_an_answer_that_is_none_of_a_taken_message_is_a_failed_try(
    channel, monkeypatch, url, answer, text, refused
):
    async with Receiver(answer) as receiver:
        reach(monkeypatch, receiver)
        monkeypatch.delenv("NO_PROXY")
        with pytest.raises(DeliveryError) as failed:
            await channel(url.format(port=receiver.port)).notify(message())

    assert text in str(failed.value)
    assert failed.value.refused is refused


async def test_a_receiver_cannot_make_a_thread_sleep(channel, monkeypatch):
    in_a_day = int(datetime.now(UTC).timestamp()) + 86_400
    limits = ("X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {in_a_day}", "Retry-After: 86400")
    async with Receiver(Answer(status=429, body=b"", headers=limits)) as receiver:
        reach(monkeypatch, receiver)
        with pytest.raises(DeliveryError, match="HTTP 429"):
            await channel(DISCORD).notify(message())


def test_a_url_cannot_ask_for_endless_patience():
    receiver = _opened(parse_route("json://127.0.0.1/hook?rto=600&cto=600"))

    assert receiver.request_timeout == (SEND_S_MAX, SEND_S_MAX)


async def test_a_receiver_that_is_down_is_named_as_such(channel):
    with pytest.raises(DeliveryError, match="the connection was refused"):
        await channel("json://127.0.0.1:9/hook").notify(message())
    with pytest.raises(DeliveryError, match="the connection was refused"):
        await channel("mailto://127.0.0.1:9?from=a@example.org&to=b@example.org").notify(message())


async def test_a_mail_server_that_refuses_the_address_is_a_refusal(channel):
    class Strict(Mailbox):
        async def handle_RCPT(self, *_: object) -> str:  # noqa: N802 - aiosmtpd's name
            return "550 nobody here"

    async with Strict() as mailbox:
        address = f"mailto://127.0.0.1:{mailbox.port}?from=keeper@example.org&to=ops@example.org"
        with pytest.raises(DeliveryError, match="SMTP 550") as failed:
            await channel(f"{address}&mode=insecure").notify(message())

    assert failed.value.refused


async def test_a_receiver_that_never_answers_fails_and_is_not_asked_again_meanwhile(
    channel, monkeypatch
):
    monkeypatch.setattr("liqctl.alerts.channels.SEND_S_MAX", 0.2)

    def patient(*given, **more):
        opened = _opened(*given, **more)
        opened.socket_read_timeout = 8.0
        return opened

    # Its own limit would come at the same time as ours.
    monkeypatch.setattr("liqctl.alerts.channels._opened", patient)
    async with Receiver(HANGS) as receiver:
        slow = channel(f"json://127.0.0.1:{receiver.port}/hook")
        with pytest.raises(DeliveryError, match=r"within 0\.2 s"):
            await slow.notify(message())
        await until(lambda: bool(receiver.requests))
        with pytest.raises(DeliveryError, match="earlier message"):
            await slow.notify(message())

    assert len(receiver.requests) == 1


async def test_the_loop_goes_on_while_a_receiver_hangs(channel):
    turns = 0
    async with Receiver(HANGS) as receiver:
        slow = channel(f"json://127.0.0.1:{receiver.port}/hook?rto=1")
        sending = asyncio.create_task(slow.notify(message()))
        while not sending.done():
            turns += 1
            await asyncio.sleep(0)
        with pytest.raises(DeliveryError, match="did not answer in time"):
            await sending

    assert turns > 100


class Logged(logging.Handler):
    """What reaches the root logger, as the program's own log would."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[Logged]:
    root, handler = logging.getLogger(), Logged()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


async def test_no_secret_reaches_an_error_or_a_log(channel, monkeypatch, logged):
    told = []
    async with Receiver(Answer(status=403, body=b"no")) as receiver:
        reach(monkeypatch, receiver)
        for url in (SLACK, DISCORD, PAGERDUTY, "slack://T1JJ3T3L2/wrong"):
            with pytest.raises(DeliveryError) as failed:
                await channel(url).notify(message())
            told.append(str(failed.value))
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        with pytest.raises(DeliveryError) as failed:
            await channel(SLACK).notify(message())
        told.append(str(failed.value))

    text = "\n".join([*told, *logged.lines])
    assert [secret for secret in SECRETS if secret in text] == []
    assert "docs/ALERTS.md" in text
    assert len(receiver.requests) == 3


async def test_a_url_that_apprise_does_not_know_is_refused_when_checked(channel):
    await channel(SLACK).check()
    with pytest.raises(SettingsError, match="alert channel carrier is not one"):
        await channel("carrier:info=pigeon://roof").check()
