-- What programs read beside the keeper: positions, prices, alerts with their outbox.

-- A rewritten row of every position at each scan: so the fewest indexes that serve the pages.
CREATE TABLE positions (
    position TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    venue TEXT NOT NULL,
    market TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    size ANY NOT NULL CHECK (typeof(size) IN ('integer', 'text')),
    collateral ANY NOT NULL CHECK (typeof(collateral) IN ('integer', 'text')),
    entry_price ANY NOT NULL CHECK (typeof(entry_price) IN ('integer', 'text')),
    liquidatable INTEGER CHECK (liquidatable IN (0, 1)),
    reason TEXT NOT NULL,
    health REAL,
    equity ANY CHECK (typeof(equity) IN ('integer', 'text', 'null')),
    maintenance_margin ANY CHECK (typeof(maintenance_margin) IN ('integer', 'text', 'null')),
    liquidation_price ANY CHECK (typeof(liquidation_price) IN ('integer', 'text', 'null')),
    mark_price ANY CHECK (typeof(mark_price) IN ('integer', 'text', 'null')),
    slot INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    -- Infinity comes after every health, so that a page may continue after a row by comparing.
    health_rank REAL NOT NULL GENERATED ALWAYS AS (COALESCE(health, 9e999)) VIRTUAL
) STRICT;
CREATE INDEX positions_by_health ON positions (health_rank, position);
CREATE INDEX positions_by_venue ON positions (venue, health_rank, position);
CREATE INDEX positions_by_symbol ON positions (symbol, health_rank, position);
CREATE INDEX positions_by_owner ON positions (owner, health_rank, position);
CREATE INDEX positions_by_age ON positions (venue, at_ms);

CREATE TABLE prices (
    venue TEXT NOT NULL,
    market TEXT NOT NULL,
    symbol TEXT NOT NULL,
    price ANY CHECK (typeof(price) IN ('integer', 'text', 'null')),
    confidence ANY CHECK (typeof(confidence) IN ('integer', 'text', 'null')),
    publish_time INTEGER,
    source TEXT,
    refusal TEXT,
    max_age_s INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (venue, market)
) STRICT;

CREATE TABLE alert (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state TEXT NOT NULL CHECK (state IN ('firing', 'resolved')),
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    raised_ms INTEGER NOT NULL,
    resolved_ms INTEGER,
    notified_ms INTEGER,
    CONSTRAINT resolved_has_its_time CHECK ((state = 'resolved') = (resolved_ms IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX alert_one_firing ON alert (rule, subject) WHERE state = 'firing';
CREATE INDEX alert_resolved ON alert (resolved_ms) WHERE state = 'resolved';

CREATE TABLE alert_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id INTEGER REFERENCES alert (id),
    channel TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    dedup_key TEXT NOT NULL,
    resolves INTEGER NOT NULL CHECK (resolves IN (0, 1)),
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL,
    delivered_ms INTEGER,
    error TEXT NOT NULL
) STRICT;
CREATE INDEX alert_delivery_due ON alert_delivery (id) WHERE delivered_ms IS NULL;
CREATE INDEX alert_delivery_done ON alert_delivery (delivered_ms) WHERE delivered_ms IS NOT NULL;
CREATE INDEX alert_delivery_of ON alert_delivery (alert_id);

-- Pages of the history, and sums by day.
CREATE INDEX liquidations_by_owner ON liquidations (owner_pubkey, id);
CREATE INDEX liquidations_by_time ON liquidations (timestamp);
DROP INDEX liquidations_oversized;
CREATE INDEX liquidations_oversized ON liquidations (timestamp) WHERE
    typeof(liquidated_size) = 'text' OR typeof(liquidator_reward) = 'text'
    OR typeof(bad_debt) = 'text' OR typeof(bad_debt_uncovered) = 'text';
DROP INDEX failed_liquidations_by_class;
CREATE INDEX failed_liquidations_by_class ON failed_liquidations (failure_class, id);
CREATE INDEX intent_by_position ON intent (position);
DROP INDEX attempt_by_time;
CREATE INDEX attempt_by_time ON attempt (signed_ms, sig);
CREATE INDEX attempt_by_state ON attempt (state, signed_ms, sig);
