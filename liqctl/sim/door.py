"""The way into a node: what comes through is noted, and the caller may die on the doorstep."""

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from liqctl.chain.base58 import encode
from liqctl.sim.evidence import Sent, Tried
from liqctl.sim.network import Network
from liqctl.sim.node import Node
from liqctl.sim.serving import Fate, Reply, Session

_SEND, _TRY = b'"sendTransaction"', b'"simulateTransaction"'
WINDOW_S = 10.0
# What is on its way when the answer arrives comes all the same.
UNDER_WAY_S, EARLY_S = 0.05, 0.001


class DoorLog:
    """What came through the doors of all nodes."""

    def __init__(self) -> None:
        """Start empty; `passed` has the slots where each message was simulated with success."""
        self.sent: list[Sent] = []
        self.tried: list[Tried] = []
        self.passed: dict[bytes, set[int]] = {}
        self.impatient: list[tuple[float, str, str, float]] = []
        self._calls: Counter[tuple[str, int]] = Counter()
        self._pauses: dict[tuple[str, str], tuple[float, float]] = {}

    def count(self, caller: str, now_s: float) -> None:
        """Count a call."""
        self._calls[caller, int(now_s / WINDOW_S)] += 1

    def born(self, caller: str) -> None:
        """Forget what an earlier life of the caller was asked for."""
        self._pauses = {key: one for key, one in self._pauses.items() if key[0] != caller}

    def asked_pause(self, caller: str, node: str, now_s: float, seconds: float) -> None:
        """Note that a caller has heard a node ask to be left alone for a while."""
        known_s = now_s + UNDER_WAY_S
        until_s = max(now_s + seconds, self._pauses.get((caller, node), (0.0, 0.0))[1])
        self._pauses.setdefault((caller, node), (known_s, until_s))
        self._pauses[caller, node] = (self._pauses[caller, node][0], until_s)

    def asked(self, caller: str, node: str, now_s: float) -> None:
        """Note a call that came although the node had asked for a pause."""
        since_s, until_s = self._pauses.get((caller, node), (0.0, 0.0))
        if now_s >= until_s:
            self._pauses.pop((caller, node), None)
        elif since_s < now_s < until_s - EARLY_S:
            self.impatient.append((now_s, caller, node, until_s - now_s))

    def seen(self) -> dict[str, float]:
        """Return when each signature was first seen."""
        first: dict[str, float] = {}
        for sent in self.sent:
            first.setdefault(sent.signature, sent.at_s)
        return first

    def calls_per_s(self) -> dict[str, float]:
        """Return the highest rate of each caller over a window."""
        rates: dict[str, float] = {}
        for (caller, _), count in self._calls.items():
            rates[caller] = max(rates.get(caller, 0.0), count / WINDOW_S)
        return rates


class Door:
    """One node as the network sees it."""

    def __init__(
        self, node: Node, network: Network, log: DoorLog, on_send: Callable[[str, str], None]
    ) -> None:
        """`on_send` is told the caller and "before" or "after" around each sendTransaction."""
        self._node = node
        self._network = network
        self._log = log
        self._on_send = on_send

    def handle(self, body: bytes, method: str) -> Reply:
        """Return the node's reply."""
        now_s, caller = self._network.loop.time(), self._network.caller
        self._log.count(caller, now_s)
        self._log.asked(caller, self._node.name, now_s)
        if _SEND in body:
            params = _params(body)
            self._log.sent.append(
                Sent(
                    at_s=now_s,
                    keeper=caller,
                    signature=encode(base64.b64decode(params[0])[1:65]),
                    options=params[1],
                )
            )
            self._on_send(caller, "before")
            reply = self._pausing(self._node.handle(body, method), caller)
            self._on_send(caller, "after")
            return reply
        reply = self._pausing(self._node.handle(body, method), caller)
        if _TRY in body and reply.fate is Fate.ANSWERED and reply.status == 200:
            self._note_trial(_params(body), reply.body, caller, now_s)
        return reply

    def open_session(self, send: Callable[[bytes], None]) -> Session:
        """Return the node's session."""
        return self._node.open_session(send)

    def _pausing(self, reply: Reply, caller: str) -> Reply:
        """Return the reply; one that asks for a pause is noted when it has been heard."""
        asked = dict(reply.headers).get("retry-after") if reply.headers else None
        if asked is None or reply.fate is not Fate.ANSWERED:
            return reply

        def heard() -> None:
            now_s = self._network.loop.time()
            self._log.asked_pause(caller, self._node.name, now_s, float(asked))

        return replace(reply, heard=heard)

    def _note_trial(self, params: Any, answer: bytes, caller: str, now_s: float) -> None:  # noqa: ANN401 - any JSON
        result = msgspec.json.decode(answer).get("result")
        if result is None:
            return
        tried = Tried(
            at_s=now_s,
            keeper=caller,
            message=base64.b64decode(params[0])[65:],
            slot=result["context"]["slot"],
            failed=result["value"]["err"] is not None,
            options=params[1],
        )
        self._log.tried.append(tried)
        if not tried.failed:
            self._log.passed.setdefault(tried.message, set()).add(tried.slot)


def _params(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    return msgspec.json.decode(body)["params"]
