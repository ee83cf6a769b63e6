"""A signer for `liqctl watch -k 'exec:python examples/external_signer.py KEYFILE'`.

The key is in this process only. Replace what is done with the key file by your own vault, and
refuse() by your own policy; docs/SIGNER.md describes the few lines that are exchanged.
"""

import base64
import json
import sys
from pathlib import Path

from solders.keypair import Keypair


def refuse(message: bytes) -> str:
    """Return why a message is not to be signed, or nothing."""
    return "" if 0 < len(message) <= 1232 else "this is no transaction"


def main(path: str) -> None:
    """Say who signs, then answer each question until standard input is closed."""
    keypair = Keypair.from_bytes(bytes(json.loads(Path(path).read_text(encoding="utf-8"))))
    print(json.dumps({"type": "signer", "pubkey": str(keypair.pubkey())}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        message = base64.b64decode(question["message"])
        reason = refuse(message)
        if reason:
            answer = {"id": question["id"], "error": reason}
        else:
            answer = {"id": question["id"], "signature": str(keypair.sign_message(message))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
