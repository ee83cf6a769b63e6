"""An external signer that behaves as it is told: `python signing_program.py HOW KEY [FILE]`.

KEY is a key file, or a byte of which the seed is made; in FILE each start is counted.
"""

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path

from solders.keypair import Keypair

HOW, SOURCE, *FILES = sys.argv[1:] if __name__ == "__main__" else ("imported", "1")
if SOURCE.isdigit():
    KEY = Keypair.from_seed(bytes([int(SOURCE)] * 32))
else:
    KEY = Keypair.from_bytes(bytes(json.loads(Path(SOURCE).read_text())))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def started() -> int:
    """Return how often this has been started, counted in a file."""
    with Path(FILES[0]).open("a+b") as counter:
        counter.write(b".")
        return counter.tell()


def answer(number: int, message: bytes) -> dict[str, object]:
    if HOW == "refuse_odd" and number % 2:
        return {"id": number, "error": f"not\x1b[2J now, {KEY} and {list(bytes(KEY))}\nforged"}
    if HOW == "no_signature":
        return {"id": number}
    right = KEY.sign_message(message)
    signature = {
        "base64": base64.b64encode(bytes(right)).decode(),
        "wrong_message": str(KEY.sign_message(message + b"\0")),
        "wrong_key": str(Keypair().sign_message(message)),
        "zeros": "1" * 64,
        "short": str(right)[:40],
    }
    return {"id": number + (HOW == "wrong_id"), "signature": signature.get(HOW, str(right))}


def odd_start() -> None:
    """Do what has to be done in place of a greeting, or before it."""
    match HOW:
        case "mute_start":
            time.sleep(60)
        case "no_greeting":
            say("hello")
        case "no_pubkey":
            say('{"type":"signer","pubkey":"nobody"}')
        case "exit_at_start":
            sys.exit(3)
        case "endless_start":
            say("x" * 100_000)
        case "noisy" | "refuse_odd":
            sys.stderr.write("y" * 9_000 + f" {KEY}\n" + f"\x1b[2Junlocked {KEY}\n" * 3)
            sys.stderr.flush()
        case _:
            pass


def odd_answer(number: int) -> bool:
    """Return whether there is to be no right answer to this question."""
    match HOW:
        case "die_always":
            sys.exit(1)
        case "die_once" if started_now == 1:
            sys.exit(1)
        case "other_key_later" if started_now == 1:
            sys.exit(1)
        case "mute":
            time.sleep(60)
        case "garbage":
            say("[1, 2")
        case "deep":
            say("[" * 4_000)
        case "endless":
            sys.stdout.write("x" * 100_000)
            sys.stdout.flush()
            time.sleep(60)
        case "slow_once" if started_now == 1 and number == 1:
            time.sleep(60)
        case _:
            return False
    return True


if __name__ == "__main__":
    started_now = started() if FILES else 1
    if HOW == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    odd_start()
    if HOW == "other_key_later" and started_now > 1:
        KEY = Keypair()
    say(json.dumps({"type": "signer", "pubkey": str(KEY.pubkey()), "pid": os.getpid()}))
    if HOW == "chatty":
        say("x" * 500_000)
    for line in sys.stdin:
        question = json.loads(line)
        if not odd_answer(question["id"]):
            say(json.dumps(answer(question["id"], base64.b64decode(question["message"]))))
        if HOW == "one_each":
            sys.exit(0)
    if HOW in {"stubborn", "chatty"}:
        time.sleep(60)
