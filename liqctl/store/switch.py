"""The kill switch as a row that every keeper on the store reads."""

import json

from liqctl.ports import Store

KILL_SWITCH = "kill_switch"


def write_switch(store: Store, now_ms: int, *, stop: bool) -> None:
    """Stop every keeper on the store from signing, or let them go on.

    Raises:
        StoreError: nothing was written.
    """
    store.put_state(KILL_SWITCH, json.dumps("stop" if stop else "run"), now_ms)
