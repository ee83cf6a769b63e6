"""A keeper's writes in a loop, for the crash test: `python writer.py FILE NAME`.

Each line on stdout acknowledges what a commit has already made durable.
"""

import sys
from itertools import count

from liqctl.core.intent import Attempt, AttemptState, Ending, IntentState
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.store.records import attempt, liquidation, request

LEASE_MS = 20_000


def main(path: str, name: str) -> None:
    store = open_store(f"sqlite:{path}")
    for known in store.live_attempts():
        finish(store, known)
    for i in count():
        position = f"{name}-{i}"
        claim = store.claim(request(position), name, i, LEASE_MS)
        if claim is None:
            continue
        n = claim.attempts + 1
        row = attempt(claim, f"{claim.key}/{n}", n, position=position)
        if not store.record_attempt(claim, row, i):
            continue
        say("recorded", row.signature)
        store.mark_sent(row.signature, i)
        finish(store, row)


def finish(store: Store, row: Attempt) -> None:
    store.end_attempt(
        row.signature,
        Ending(state=AttemptState.FINALIZED_OK, final_slot=9, fee_lamports=5_000),
        liquidation=liquidation(row.signature, position_pubkey=row.position),
        failure=None,
        intent_state=IntentState.DONE,
        now_ms=1,
    )
    say("ended", row.signature)


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
