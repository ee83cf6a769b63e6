"""Recorded events as JSON lines, in the order of their `seq`."""

import asyncio
import json
from contextlib import suppress

import structlog

from liqctl.cli.options import Session
from liqctl.cli.readers import takes_more
from liqctl.errors import StoreError
from liqctl.keeper.context import Context

log = structlog.get_logger(__name__)

POLL_S = 0.2
PAGE = 500
END_S_MAX = 1.0


class EventStream:
    """Prints every event once, from the first one of this run.

    While nobody reads, the record keeps what is not printed yet, and the keeper goes on.
    """

    def __init__(self, session: Session, context: Context, stop: asyncio.Event) -> None:
        """Print to the session's stdout; `stop` is set when nobody reads it any more."""
        self._session = session
        self._stop = stop
        self._store = context.store
        self._seq: int | None = None

    async def run(self) -> None:
        """Print what comes until cancelled, or until nothing can be written any more."""
        try:
            while True:
                with suppress(StoreError):  # the keeper reports it; the next look takes all
                    await self.catch_up()
                await asyncio.sleep(POLL_S)
        except OSError as error:
            log.warning("reader_left", stream="stdout", reason=error.strerror)
            self._stop.set()

    async def end(self) -> None:
        """Print what is left; a database that is away keeps it, and nothing else depends on it.

        Raises:
            BrokenPipeError: somebody holds the other end and does not read it.
        """
        try:
            async with asyncio.timeout(END_S_MAX):
                await self.catch_up()
        except (StoreError, TimeoutError) as error:
            log.warning("events_not_printed", after_seq=self._seq, error=str(error))
            if not takes_more(self._session.screen.out.file):
                raise BrokenPipeError from error

    async def catch_up(self) -> None:
        """Print what has been recorded since the last call."""
        store = self._store.store
        if self._seq is None:
            self._seq = await self._store.run(store.last_seq)
        while rows := await self._store.run(store.events_since, self._seq, PAGE):
            for row in rows:
                frame = {"seq": row.seq, **json.loads(row.body_json), "at_ms": row.at_ms}
                await self._taken()
                self._session.screen.json(frame)
                self._seq = row.seq

    async def _taken(self) -> None:
        """Wait until another line can be written without waiting."""
        stands_still = False
        while not takes_more(self._session.screen.out.file):
            if not stands_still:
                log.warning("reader_stands_still", stream="stdout", after_seq=self._seq)
                stands_still = True
            await asyncio.sleep(POLL_S)
