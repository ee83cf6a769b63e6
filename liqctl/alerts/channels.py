"""Delivery through apprise: one call a message, on a thread of the channel's own, with deadlines."""

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from liqctl.alerts.routes import Route
from liqctl.core.alert import Delivery, Severity
from liqctl.errors import DeliveryError, SettingsError

if TYPE_CHECKING:
    from apprise import NotifyBase

SEND_S_MAX = 15.0
CONNECT_S = 3
READ_S = 5
PAGERDUTY = "pagerduty"

# apprise answers yes or no and tells the rest to its log, URLs and keys included. Its records are
# heard here alone, by the thread that sends, and of them only these signs are passed on.
_SIGNS = (
    (re.compile(r"\berror=(\d{3})\b"), "it answered HTTP {}"),
    (re.compile(r"\((\d{3}), b['\"]"), "it answered SMTP {}"),
    (re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate"), "its certificate cannot be trusted"),
    (re.compile(r"[Cc]onnection refused"), "the connection was refused"),
    (re.compile(r"NameResolution|[Nn]ame or service|getaddrinfo"), "its host name is not known"),
    (re.compile(r"[Tt]imed? ?out"), "it did not answer in time"),
)
_RETRIED_STATUS = frozenset({"408", "425", "429"})
_said: ContextVar[list[str] | None] = ContextVar("apprise_said", default=None)


class _Ear(logging.Handler):
    """Keeps what apprise says while the present thread sends; nothing of it reaches a log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        said = _said.get()
        if said is not None and len(said) < 100:
            said.append(record.getMessage())


class AppriseChannel:
    """One receiver, as ports.Notifier; a receiver that hangs holds up nothing but itself."""

    def __init__(self, route: Route) -> None:
        """Remember where to; nothing is opened yet."""
        self.route = route
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"alert {route.name}")
        self._sending: asyncio.Future[None] | None = None

    @property
    def keeps_incidents(self) -> bool:
        """Whether the receiver keeps an alert open until its end is told."""
        return self.route.url.startswith(f"{PAGERDUTY}://")

    async def notify(self, delivery: Delivery) -> None:
        """Deliver one message; cancelled or late, what is on its way may still arrive.

        Raises:
            DeliveryError: the receiver said no, cannot be reached, or has not answered in time.
        """
        if self._sending is not None and not self._sending.done():
            raise DeliveryError("it still has not answered an earlier message")
        loop = asyncio.get_running_loop()
        sending = loop.run_in_executor(self._executor, _send, self.route, delivery)
        sending.add_done_callback(_forget)
        self._sending = sending
        done, _ = await asyncio.wait([sending], timeout=SEND_S_MAX)
        if not done:
            raise DeliveryError(f"it did not answer within {SEND_S_MAX:g} s")
        await sending

    async def check(self) -> None:
        """Return when apprise understands the channel's URL; nothing is sent.

        Raises:
            SettingsError: it does not.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, _opened, self.route)

    def close(self) -> None:
        """Let the thread end; it does at the latest when its last call runs into a deadline."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _forget(sending: asyncio.Future[None]) -> None:
    """Take note of an error that comes after everybody stopped waiting."""
    if not sending.cancelled():
        sending.exception()


def _send(route: Route, delivery: Delivery) -> None:
    _silence()
    from apprise import NotifyType  # noqa: PLC0415 - 150 ms, on the thread of the first message

    kind = {
        Severity.INFO: NotifyType.INFO,
        Severity.WARNING: NotifyType.WARNING,
        Severity.CRITICAL: NotifyType.FAILURE,
    }[delivery.severity]
    options = {}
    if route.url.startswith(f"{PAGERDUTY}://"):
        action = "resolve" if delivery.resolves else "trigger"
        options = {"dedup": delivery.dedup_key, "action": action}
    try:
        receiver = _opened(route, **options)
        with _listening() as said:
            taken = receiver.notify(
                title=delivery.title,
                body=delivery.body,
                notify_type=NotifyType.SUCCESS if delivery.resolves else kind,
                body_format="text",
            )
    except SettingsError as error:
        raise DeliveryError(str(error), refused=True) from error
    except Exception as error:  # a fault of one plugin must not end the keeper
        raise DeliveryError(f"apprise failed with {type(error).__name__}") from error
    if not taken:
        raise _failure(said)


def _opened(route: Route, **options: str) -> "NotifyBase":
    """Return apprise's sender for the URL: it follows no redirect and keeps nothing on disk.

    Raises:
        SettingsError: apprise does not understand the URL.
    """
    _silence()
    from apprise import Apprise, AppriseAsset, PersistentStoreMode  # noqa: PLC0415 - 150 ms

    asset = AppriseAsset(
        app_id="liqctl",
        app_desc="liqctl alerts",
        app_url="",
        image_url_mask="",
        async_mode=False,
        http_redirects=False,
        storage_mode=PersistentStoreMode.MEMORY,
        pgp_autogen=False,
        pem_autogen=False,
    )
    with _listening():
        receiver = Apprise.instantiate(_with_options(route.url, options), asset=asset)
    if receiver is None:
        raise SettingsError(
            f"the URL of the alert channel {route.name} is not one that apprise understands; "
            "docs/ALERTS.md shows one for each kind of channel"
        )
    # The end of the process waits for its threads: none may sleep for as long as a URL or a
    # receiver likes (Discord's Retry-After). The pauses between tries are ours.
    receiver.socket_connect_timeout = min(receiver.socket_connect_timeout, SEND_S_MAX)
    receiver.socket_read_timeout = min(receiver.socket_read_timeout, SEND_S_MAX)
    vars(receiver)["throttle"] = _do_not_sleep
    return receiver


def _do_not_sleep(*_: object, **__: object) -> None:
    """Stand in for apprise's own rate limit: a sender sends one message."""


def _with_options(url: str, options: dict[str, str]) -> str:
    """Return the URL with options, and with our deadlines unless it names its own."""
    query = url.partition("?")[2]
    named = {part.partition("=")[0] for part in query.split("&")}
    deadlines = {"cto": str(CONNECT_S), "rto": str(READ_S)}
    added = {**{n: v for n, v in deadlines.items() if n not in named}, **options}
    return f"{url}{'&' if query else '?'}{urlencode(added, quote_via=quote)}"


def _silence() -> None:
    """Keep what apprise and the libraries below it say from every log: it holds keys."""
    logger = logging.getLogger("apprise")
    if not any(isinstance(handler, _Ear) for handler in logger.handlers):
        logger.handlers[:] = [_Ear()]
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        for below in ("requests", "urllib3"):
            logging.getLogger(below).propagate = False


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Yield what apprise says on this thread meanwhile."""
    said: list[str] = []
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


def _failure(said: list[str]) -> DeliveryError:
    """Return what went wrong, in words without secrets."""
    for sign, text in _SIGNS:
        found = [match for line in said if (match := sign.search(line)) is not None]
        if not found:
            continue
        code = found[-1][1] if sign.groups else ""
        http_no = text.startswith("it answered HTTP") and code.startswith("4")
        smtp_no = text.startswith("it answered SMTP") and code.startswith("5")
        refused = (http_no and code not in _RETRIED_STATUS) or smtp_no
        return DeliveryError(text.format(code), refused=refused)
    return DeliveryError("it did not take the message")
