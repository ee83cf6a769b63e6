"""The whole Store over SQL, but for what makes an engine."""

from liqctl.store.sql.alerts import SqlAlerts
from liqctl.store.sql.archive import SqlArchive
from liqctl.store.sql.intents import SqlIntents
from liqctl.store.sql.queue import SqlQueue
from liqctl.store.sql.streams import SqlStreams


class SqlStore(SqlIntents, SqlStreams, SqlQueue, SqlArchive, SqlAlerts):
    """What engines inherit; `liqctl.store.sql.session` says what they add."""
