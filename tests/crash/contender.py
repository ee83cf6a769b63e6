"""One of several keepers that fight for the same positions: `python -m tests.crash.contender URL NAME`.

Each line on stdout acknowledges what a commit has already made durable.
"""

import random
import sys
import time
from itertools import count

from liqctl.core.intent import Attempt, AttemptState, Ending, IntentState
from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.store.records import attempt, liquidation, request

LEASE_MS = 250
POSITIONS = 6
LANDED = Ending(state=AttemptState.FINALIZED_OK, final_slot=9, fee_lamports=5_000)
FAILED = Ending(state=AttemptState.FINALIZED_ERR, final_slot=9, fee_lamports=5_000)


def main(url: str, name: str) -> None:
    chance = random.Random(name)
    store: Store | None = None
    for n in count():
        try:
            store = store or open_store(url)
            settle(store, name, chance)
            work(store, name, f"{name}-{n}", chance)
        except StoreError:
            time.sleep(0.02)


def work(store: Store, name: str, signature: str, chance: random.Random) -> None:
    """Claim a position and go the way of one transaction, or a part of it."""
    position = f"p{chance.randrange(POSITIONS)}"
    claim = store.claim(request(position), name, now_ms(), LEASE_MS)
    if claim is None:
        return
    say("claimed", claim.intent_id, claim.fence)
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0, 2 * LEASE_MS / 1_000))
    row = attempt(claim, signature, claim.attempts + 1, position=position)
    if store.record_attempt(claim, row, now_ms()):
        say("recorded", signature)
        store.mark_sent(signature, now_ms())
        finish(store, row, chance)


def settle(store: Store, name: str, chance: random.Random) -> None:
    """Finish what others have left."""
    for known in store.live_attempts():
        claim = store.adopt(known.intent_id, name, now_ms(), LEASE_MS)
        if claim is not None:
            say("claimed", claim.intent_id, claim.fence)
            finish(store, known, chance)


def finish(store: Store, row: Attempt, chance: random.Random) -> None:
    landed = chance.random() < 0.8
    store.end_attempt(
        row.signature,
        LANDED if landed else FAILED,
        liquidation=liquidation(row.signature, position_pubkey=row.position) if landed else None,
        failure=None,
        intent_state=IntentState.DONE if landed else None,
        now_ms=now_ms(),
    )
    say("landed" if landed else "failed", row.signature)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
