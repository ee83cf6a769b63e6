"""Entries of the event stream as clients read them, over HTTP and WebSocket alike."""

from liqctl.core.record import EventRow
from liqctl.server.views import decoded, plain


def frame(row: EventRow) -> dict[str, object]:
    """Return an event with its `seq` and `at_ms`; `type` is the kind, whatever the body says.

    A body that is no JSON object comes as text under `body`: one bad row must not stop the stream.
    """
    head: dict[str, object] = {"type": row.kind, "seq": row.seq, "at_ms": row.at_ms}
    shown = plain(decoded(row.body_json))
    return {**shown, **head} if isinstance(shown, dict) else {**head, "body": row.body_json}
