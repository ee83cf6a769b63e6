"""Bodies as Hermes writes them."""

import json

SOL = "ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d"
BTC = "e62df6c8b4a85fe1a67db44dc12de5db330f7ac66b72dc658afedf0f4a415b43"
UNKNOWN = "00" * 31 + "07"


def entry(feed_id=SOL, price="15679769099", published=1_721_133_402, **more):
    return {
        "id": feed_id,
        "price": {"price": price, "conf": "7231031", "expo": -8, "publish_time": published},
        "ema_price": {
            "price": "15640000000",
            "conf": "8000000",
            "expo": -8,
            "publish_time": published,
        },
        "metadata": {
            "slot": 155_000_001,
            "proof_available_time": published + 1,
            "prev_publish_time": published - 1,
        },
    } | more


def body(*entries):
    answer = {"binary": {"encoding": "base64", "data": ["UE5BVQ=="]}, "parsed": list(entries)}
    return json.dumps(answer).encode()
