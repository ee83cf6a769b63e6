-- The first schema. Amounts that a program keeps as u64 or u128 are ANY: an integer while it fits
-- into 63 bits, otherwise its decimal digits as text (see columns.py); never a rounded float.

CREATE TABLE liquidations (
    id INTEGER PRIMARY KEY,
    position_pubkey TEXT NOT NULL,
    owner_pubkey TEXT NOT NULL,
    symbol TEXT NOT NULL,
    liquidated_size ANY NOT NULL CHECK (typeof(liquidated_size) IN ('integer', 'text')),
    liquidation_price ANY NOT NULL CHECK (typeof(liquidation_price) IN ('integer', 'text')),
    liquidator_pubkey TEXT NOT NULL,
    liquidator_reward ANY NOT NULL CHECK (typeof(liquidator_reward) IN ('integer', 'text')),
    bad_debt ANY NOT NULL CHECK (typeof(bad_debt) IN ('integer', 'text')),
    health_factor_before REAL,
    is_full_liquidation INTEGER NOT NULL CHECK (is_full_liquidation IN (0, 1)),
    timestamp INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    venue TEXT NOT NULL,
    signature TEXT NOT NULL UNIQUE REFERENCES attempt (sig),
    slot INTEGER NOT NULL,
    fee_lamports INTEGER,
    fund_delta ANY NOT NULL CHECK (typeof(fund_delta) IN ('integer', 'text')),
    bad_debt_uncovered ANY NOT NULL CHECK (typeof(bad_debt_uncovered) IN ('integer', 'text')),
    generation ANY NOT NULL CHECK (typeof(generation) IN ('integer', 'text')),
    decision_latency_us INTEGER
) STRICT;
CREATE INDEX liquidations_by_position ON liquidations (position_pubkey, id);
CREATE INDEX liquidations_oversized ON liquidations (id)
    WHERE typeof(liquidator_reward) = 'text' OR typeof(bad_debt) = 'text';

CREATE TABLE failed_liquidations (
    id INTEGER PRIMARY KEY,
    position_pubkey TEXT NOT NULL,
    symbol TEXT NOT NULL,
    failure_class TEXT NOT NULL,
    detail TEXT NOT NULL,
    signature TEXT,
    slot INTEGER,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX failed_liquidations_by_position ON failed_liquidations (position_pubkey, id);
CREATE INDEX failed_liquidations_by_class ON failed_liquidations (failure_class);

CREATE TABLE intent (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('NEW', 'OPEN', 'HELD', 'DONE', 'GONE', 'FAILED')),
    reason TEXT NOT NULL DEFAULT '',
    owner TEXT,
    fence INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    decision_slot INTEGER NOT NULL,
    snapshot_json TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    venue TEXT NOT NULL,
    program TEXT NOT NULL,
    position TEXT NOT NULL,
    generation ANY NOT NULL CHECK (typeof(generation) IN ('integer', 'text')),
    step INTEGER NOT NULL,
    UNIQUE (program, position, generation, step)
) STRICT;
CREATE INDEX intent_held ON intent (position) WHERE state = 'HELD';

CREATE TABLE attempt (
    sig TEXT NOT NULL PRIMARY KEY,
    intent_id INTEGER NOT NULL REFERENCES intent (id),
    n INTEGER NOT NULL,
    raw BLOB NOT NULL,
    blockhash TEXT NOT NULL,
    lvbh INTEGER NOT NULL,
    min_ctx_slot INTEGER NOT NULL,
    cu_limit INTEGER NOT NULL,
    cu_price INTEGER NOT NULL,
    max_cost_lamports INTEGER NOT NULL CHECK (max_cost_lamports >= 0),
    symbol TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('SIGNED', 'SENT', 'SEEN', 'FINALIZED_OK', 'FINALIZED_ERR', 'EXPIRED', 'VOID')
    ),
    signed_ms INTEGER NOT NULL,
    first_sent INTEGER,
    last_sent INTEGER,
    sends INTEGER NOT NULL DEFAULT 0,
    seen_slot INTEGER,
    seen_level TEXT,
    err_json TEXT,
    fee_paid INTEGER,
    final_slot INTEGER,
    proof_json TEXT,
    ended_ms INTEGER,
    UNIQUE (intent_id, n),
    CONSTRAINT expired_needs_proof CHECK (
        state NOT IN ('EXPIRED', 'VOID') OR proof_json IS NOT NULL
    ),
    CONSTRAINT void_was_never_sent CHECK (state <> 'VOID' OR sends = 0)
) STRICT;
CREATE UNIQUE INDEX attempt_one_live ON attempt (intent_id)
    WHERE state IN ('SIGNED', 'SENT', 'SEEN');
CREATE INDEX attempt_by_time ON attempt (signed_ms);

CREATE TABLE attempt_edge (
    a TEXT NOT NULL,
    b TEXT NOT NULL,
    PRIMARY KEY (a, b)
) STRICT;
INSERT INTO attempt_edge (a, b) VALUES
    ('SIGNED', 'SENT'),
    ('SIGNED', 'SEEN'),
    ('SENT', 'SEEN'),
    ('SEEN', 'SENT'),
    ('SIGNED', 'FINALIZED_OK'),
    ('SENT', 'FINALIZED_OK'),
    ('SEEN', 'FINALIZED_OK'),
    ('SIGNED', 'FINALIZED_ERR'),
    ('SENT', 'FINALIZED_ERR'),
    ('SEEN', 'FINALIZED_ERR'),
    ('SIGNED', 'EXPIRED'),
    ('SENT', 'EXPIRED'),
    ('SIGNED', 'VOID');

CREATE TABLE intent_edge (
    a TEXT NOT NULL,
    b TEXT NOT NULL,
    PRIMARY KEY (a, b)
) STRICT;
INSERT INTO intent_edge (a, b) VALUES
    ('NEW', 'OPEN'),
    ('NEW', 'GONE'),
    ('NEW', 'HELD'),
    ('NEW', 'FAILED'),
    ('OPEN', 'DONE'),
    ('OPEN', 'GONE'),
    ('OPEN', 'FAILED'),
    ('OPEN', 'HELD'),
    ('HELD', 'OPEN'),
    ('HELD', 'GONE'),
    ('HELD', 'FAILED');

-- REPLACE would delete the old row without firing a DELETE trigger, so the INSERT looks for it.
CREATE TRIGGER attempt_insert BEFORE INSERT ON attempt
WHEN NEW.state <> 'SIGNED' OR NEW.sends <> 0 OR EXISTS (
    SELECT 1 FROM attempt
    WHERE sig = NEW.sig
        OR (intent_id = NEW.intent_id AND (n = NEW.n OR state IN ('SIGNED', 'SENT', 'SEEN')))
)
BEGIN SELECT RAISE(ABORT, 'attempt: not a new one, not SIGNED, or another one is live'); END;

CREATE TRIGGER attempt_edges BEFORE UPDATE OF state ON attempt
WHEN NEW.state <> OLD.state
    AND NOT EXISTS (SELECT 1 FROM attempt_edge WHERE a = OLD.state AND b = NEW.state)
BEGIN SELECT RAISE(ABORT, 'attempt: forbidden edge'); END;

CREATE TRIGGER attempt_immutable BEFORE UPDATE OF
    sig, intent_id, n, raw, blockhash, lvbh, min_ctx_slot, cu_limit, cu_price, max_cost_lamports,
    symbol, signed_ms
ON attempt
BEGIN SELECT RAISE(ABORT, 'attempt: what was signed never changes'); END;

CREATE TRIGGER attempt_delete BEFORE DELETE ON attempt
WHEN OLD.state IN ('SIGNED', 'SENT', 'SEEN')
BEGIN SELECT RAISE(ABORT, 'attempt: a live one cannot be deleted'); END;

CREATE TRIGGER intent_insert BEFORE INSERT ON intent
WHEN NEW.state <> 'NEW' OR EXISTS (SELECT 1 FROM intent WHERE key = NEW.key OR id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'intent: not a new one'); END;

CREATE TRIGGER intent_edges BEFORE UPDATE OF state ON intent
WHEN NEW.state <> OLD.state
    AND NOT EXISTS (SELECT 1 FROM intent_edge WHERE a = OLD.state AND b = NEW.state)
BEGIN SELECT RAISE(ABORT, 'intent: forbidden edge'); END;

CREATE TRIGGER intent_needs_no_live_attempt BEFORE UPDATE OF state ON intent
WHEN NEW.state IN ('HELD', 'DONE', 'GONE', 'FAILED') AND EXISTS (
    SELECT 1 FROM attempt WHERE intent_id = OLD.id AND state IN ('SIGNED', 'SENT', 'SEEN')
)
BEGIN SELECT RAISE(ABORT, 'intent: an attempt is live'); END;

CREATE TRIGGER intent_done_needs_success BEFORE UPDATE OF state ON intent
WHEN NEW.state = 'DONE' AND NOT EXISTS (
    SELECT 1 FROM attempt WHERE intent_id = OLD.id AND state = 'FINALIZED_OK'
)
BEGIN SELECT RAISE(ABORT, 'intent: DONE without a finalized attempt'); END;

CREATE TRIGGER intent_immutable BEFORE UPDATE OF
    id, key, venue, program, position, generation, step
ON intent
BEGIN SELECT RAISE(ABORT, 'intent: what it is for never changes'); END;

CREATE TRIGGER intent_delete BEFORE DELETE ON intent
WHEN OLD.state IN ('NEW', 'OPEN', 'HELD')
BEGIN SELECT RAISE(ABORT, 'intent: an unfinished one cannot be deleted'); END;

-- Until the node tells the fee of a final attempt, its maximum counts as spent.
CREATE VIEW spend AS
SELECT
    sig,
    signed_ms,
    CASE
        WHEN state IN ('SIGNED', 'SENT', 'SEEN') THEN max_cost_lamports
        WHEN state IN ('FINALIZED_OK', 'FINALIZED_ERR') THEN COALESCE(fee_paid, max_cost_lamports)
        ELSE 0
    END AS lamports
FROM attempt;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    body_json TEXT NOT NULL CHECK (json_valid(body_json))
) STRICT;

CREATE TABLE insurance_balance (
    id INTEGER PRIMARY KEY,
    venue TEXT NOT NULL,
    address TEXT NOT NULL,
    balance ANY NOT NULL CHECK (typeof(balance) IN ('integer', 'text')),
    bad_debt_covered ANY NOT NULL CHECK (typeof(bad_debt_covered) IN ('integer', 'text')),
    bad_debt_uncovered ANY NOT NULL CHECK (typeof(bad_debt_uncovered) IN ('integer', 'text')),
    slot INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE queue (
    position TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    size ANY NOT NULL CHECK (typeof(size) IN ('integer', 'text')),
    health REAL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'in_flight', 'quarantined')),
    reason TEXT NOT NULL,
    tries INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    order_waiting TEXT CHECK (order_waiting IN ('drop', 'retry', 'enqueue'))
) STRICT;

CREATE TABLE state (
    name TEXT NOT NULL PRIMARY KEY,
    value_json TEXT NOT NULL CHECK (json_valid(value_json)),
    at_ms INTEGER NOT NULL
) STRICT;
