"""What a client missed, from memory where the hub still has it, else from the store."""

from liqctl.server.hub import Client, Frame, Hub, gap, wanted
from liqctl.server.tail import Reads, events_after


async def catch_up(client: Client, since: int, hub: Hub, reader: Reads) -> bool:
    """Tell a client what happened after `since` and let it join the hub, with nothing in between.

    False when it went away meanwhile. A page is read when the one before has been taken, so that
    a slow client costs one page of memory. Numbers have no holes, but the oldest events are
    deleted some day: a first one that is not the next one means a gap, on every page anew.

    Raises:
        StoreError: what it missed cannot be read.
    """
    at, era = since, hub.era
    while await client.line.cleared():
        if era != hub.era:
            client.put(gap(since=at, seq=hub.seq or 0))
            at, era = hub.seq or 0, hub.era
        missed = hub.recent(at)
        if missed is None:
            last_seq, rows = await reader.run(events_after(at))
            missed = [Frame.of(row) for row in rows]
            before = missed[0].seq - 1 if missed else last_seq
            if before != at:
                client.put(gap(since=at, seq=before))
                at = before
        wire, count = wanted(missed, client.wants, at)
        if count:
            client.put(wire, count)
        at = missed[-1].seq if missed else at
        # Nothing is awaited between this look and the joining: nothing can come between.
        if era == hub.era and at >= (hub.seq or 0):
            client.position = at
            hub.join(client)
            return True
    return False
