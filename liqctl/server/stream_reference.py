"""What the API's reference says of `/ws`, which an OpenAPI document cannot describe."""

FRAMES = {
    "hello": ("at_ms", "the first frame; `seq` is where the stream goes on"),
    "liquidation": (
        "venue, position_id, symbol, amount, price, reward, bad_debt, is_full, health_before, "
        "signature, slot, timestamp",
        "a liquidation of ours is final",
    ),
    "price_update": (
        "venue, symbol, price, slot, refusal",
        "a mark price moved; without a usable one `price` is null and `refusal` says why",
    ),
    "insurance_fund": (
        "venue, balance, bad_debt_covered, bad_debt_uncovered, slot",
        "the fund changed",
    ),
    "queue": (
        "venue, change, position_id and, as they apply, symbol, side, size, health, kind, equity, "
        "maintenance_margin, state, reason, tries",
        "a candidate came (`added`), changed its state (`state`) or left (`removed`)",
    ),
    "alert": (
        "turn, rule, subject, severity, state, title, body and its times",
        "an alert began, was repeated or ended",
    ),
    "heartbeat": (
        "at_ms, database",
        "every 15 s to who has read everything; `database` is `ok` or `failing`",
    ),
    "gap": ("since", "events after `since` are gone for good; the next one follows `seq`"),
    "subscribed": ("types, symbols", "the answer to `subscribe`"),
    "pong": ("at_ms", "the answer to `ping`"),
    "error": ("message", "an order that could not be obeyed"),
}
ORDERS = {
    '`{"op": "subscribe", "types": [...], "symbols": [...]}`': (
        "from now on only these; what is left out is not restricted"
    ),
    '`{"op": "ping"}`': "asks for a `pong`",
}
CLOSES = {
    "1008": "the address or an order was refused, or more than 120 orders came within a minute",
    "1009": "a frame of more than 4 KiB came in",
    "1011": "no answer to a ping within 20 s",
    "1012": "the server ends; come back with `since`",
    "1013": "too slow, or the database cannot be read: come back with `since`",
}
INTRODUCTION = (
    "`GET /ws` upgrades to a WebSocket. Every frame is a JSON object with a `type` and a `seq` "
    "that goes back only with a `gap`, when another database took the place of the one before. Events have `at_ms` beside them, the time of their record.",
    "`?since=SEQ` goes on after an event that the client has had, without a hole and without one "
    "told twice; `?types=liquidation,alert` and `?symbols=SOL` restrict what comes. What belongs "
    "to no market is not held back by the symbols. A client that does not read is closed with "
    "1013 and never slows down another.",
    "A browser cannot set headers here: it offers the subprotocols `liqctl` and "
    "`liqctl.bearer.TOKEN`, with the token in base64url without padding.",
)
