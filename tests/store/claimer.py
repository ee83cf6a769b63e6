"""One of several keepers on a store: `python -m tests.store.claimer URL NAME`, orders on stdin.

`race N` claims N positions one after the other and says which it got; `hold POSITION LEASE_MS`
claims one; `sign` records an attempt under that claim and says whether it was ours to do;
`spend ROUND N LAMPORTS` records up to N attempts for positions of its own under that cap.
"""

import sys

from liqctl.core.guards import SpendCaps
from liqctl.core.intent import Claim
from liqctl.errors import SpendCapReached, StoreError
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.store.records import attempt, request

LEASE_MS = 60_000


def main(url: str, name: str) -> None:
    store = open_store(url, create=False)
    held: Claim | None = None
    position = ""
    say("ready")
    for line in sys.stdin:
        match line.split():
            case ["race", count]:
                for n in range(int(count)):
                    if store.claim(request(f"race{n}"), name, 0, LEASE_MS) is not None:
                        say(f"won {n}")
                say("done")
            case ["hold", position, lease_ms]:
                held = store.claim(request(position), name, 0, int(lease_ms))
                say("held" if held else "nothing")
            case ["sign"]:
                assert held is not None
                try:
                    signed = attempt(held, f"by {name}", position=position)
                    say(f"signed {store.record_attempt(held, signed, 0)}")
                except StoreError:
                    say("signed False")
            case ["spend", number, count, lamports]:
                caps = SpendCaps(hour_lamports=int(lamports), day_lamports=int(lamports))
                say(f"spent {spend(store, f'{name}{number}', int(count), caps)}")
            case _:
                raise ValueError(line)
    store.close()


def spend(store: Store, name: str, count: int, caps: SpendCaps) -> int:
    """Record attempts until the cap is reached; return how many."""
    for n in range(count):
        position = f"{name}/{n}"
        claim = store.claim(request(position), name, 0, LEASE_MS)
        assert claim is not None
        try:
            assert store.record_attempt(
                claim, attempt(claim, f"of {position}", position=position), 0, caps=caps
            )
        except SpendCapReached:
            return n
    return count


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
