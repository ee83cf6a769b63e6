"""Recorded events as JSON lines, in the order of their `seq`."""

import asyncio
import json

from liqctl.cli.options import Session
from liqctl.keeper.context import Context

POLL_S = 0.2
PAGE = 500


class EventStream:
    """Prints every event once, from the first one of this run."""

    def __init__(self, session: Session, context: Context) -> None:
        """Print to the session's stdout."""
        self._session = session
        self._store = context.store
        self._seq: int | None = None

    async def run(self) -> None:
        """Print what comes; ends only by cancellation."""
        while True:
            await self.catch_up()
            await asyncio.sleep(POLL_S)

    async def catch_up(self) -> None:
        """Print what has been recorded since the last call."""
        store = self._store.store
        if self._seq is None:
            self._seq = await self._store.run(store.last_seq)
        while rows := await self._store.run(store.events_since, self._seq, PAGE):
            for row in rows:
                frame = {"seq": row.seq, **json.loads(row.body_json), "at_ms": row.at_ms}
                self._session.screen.json(frame)
            self._seq = rows[-1].seq
