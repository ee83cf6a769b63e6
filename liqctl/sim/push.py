"""The way of a WebSocket message to the client, which may garble, repeat, swap or lose it."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from liqctl.sim.cluster import Cluster
from liqctl.sim.lies import ahead
from liqctl.sim.swarm import Dice

_KINDS = ("ws_garbage", "ws_duplicate", "ws_reordered", "ws_lost", "ws_ahead")
_NOTIFICATION = b'"method"'


class PushRate(Protocol):
    """Where the present rate is read."""

    push: float


class Push:
    """Sends the messages of one connection; answers to requests always arrive as they are."""

    def __init__(
        self,
        cluster: Cluster,
        config: PushRate,
        rng: Dice,
        send: Callable[[bytes], None],
        *,
        is_out: Callable[[], bool],
    ) -> None:
        """While `is_out` says so nothing gets through, and the client is not told."""
        self._is_out = is_out
        self._cluster = cluster
        self._config = config
        self._rng = rng
        self._send = send
        self._held: bytes | None = None

    def send(self, message: bytes) -> None:
        """Send a message, or do to it what chance wants."""
        if self._is_out():
            return
        kind = ""
        if _NOTIFICATION in message and self._rng.chance(self._config.push):
            kind = self._rng.pick(_KINDS)
            self._cluster.fault(kind)
        match kind:
            case "ws_garbage":
                self._send(message[: self._rng.whole(0, len(message) - 1)])
            case "ws_duplicate":
                self._send(message)
                self._send(message)
            case "ws_reordered" if self._held is None:
                self._held = message
                return
            case "ws_lost":
                pass
            case "ws_ahead":
                self._send(_ahead(message, self._rng))
            case _:
                self._send(message)
        held, self._held = self._held, None
        if held is not None:
            self._send(held)


def _ahead(message: bytes, rng: Dice) -> bytes:
    """Return a notice with a slot that the cluster cannot have come to, where it tells one."""
    told = msgspec.json.decode(message)
    match told:
        case {"params": {"result": {"context": _}}}:
            params = {**told["params"], "result": ahead(told["params"]["result"], rng)}
            return msgspec.json.encode({**told, "params": params})
        case _:
            return message
