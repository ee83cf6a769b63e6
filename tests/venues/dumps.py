"""Accounts as files, the way `solana account --output json` writes them."""

import base64
import json

from tests.keeper.test_perpetuals_scan import clock_account


def write(place, accounts, now_s=None):
    """Write one file an account, and the clock's where a time is given."""
    place.mkdir(exist_ok=True)
    for one in [*accounts, *([] if now_s is None else [clock_account(now_s)])]:
        account = {
            "lamports": one.lamports,
            "data": [base64.b64encode(one.data).decode(), "base64"],
            "owner": one.owner,
            "executable": one.executable,
            "rentEpoch": 0,
            "space": len(one.data),
        }
        text = json.dumps({"pubkey": one.address, "account": account}, indent=2)
        (place / f"{one.address}.json").write_text(text)
    return place
