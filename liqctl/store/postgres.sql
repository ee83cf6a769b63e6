-- Statements that PostgreSQL says in its own way; they stand for those of the same name in
-- queries.sql. A lease is compared with the database's clock: of the caller's times only their
-- difference counts, the length of the lease. Rows that others may change are locked first.

-- name: insert_intent(request, generation, step, key, owner, now_ms, lease_until)^
-- Nothing comes back if another keeper recorded the same step a moment ago.
INSERT INTO intent (
    key, state, owner, fence, lease_until, decision_slot, snapshot_json, created, updated,
    venue, program, position, generation, step
) VALUES (
    :key, 'NEW', :owner, 1,
    db_now_ms() + CAST(:lease_until AS BIGINT) - CAST(:now_ms AS BIGINT),
    :request.decision_slot, :request.snapshot_json, :now_ms, :now_ms,
    :request.venue, :request.program, :request.position, :generation, :step
)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: take_intent(intent_id, owner, now_ms, lease_until)^
-- A row that somebody holds is as good as leased, so nobody waits for it.
UPDATE intent SET
    owner = :owner,
    fence = fence + 1,
    lease_until = db_now_ms() + CAST(:lease_until AS BIGINT) - CAST(:now_ms AS BIGINT),
    updated = :now_ms
WHERE id = (
    SELECT id FROM intent
    WHERE id = :intent_id
        AND state IN ('NEW', 'OPEN')
        AND (
            owner IS NULL OR owner = :owner OR lease_until <= db_now_ms()
            -- None is granted for longer: the clock that wrote it has been set back since.
            OR lease_until > db_now_ms() + CAST(:lease_until AS BIGINT) - CAST(:now_ms AS BIGINT)
        )
    FOR UPDATE SKIP LOCKED
)
RETURNING key, fence, (SELECT COUNT(*) FROM attempt WHERE intent_id = intent.id) AS attempts;

-- name: renew_lease(claim, now_ms, lease_until)!
UPDATE intent SET
    lease_until = db_now_ms() + CAST(:lease_until AS BIGINT) - CAST(:now_ms AS BIGINT),
    updated = :now_ms
WHERE id = :claim.intent_id
    AND owner = :claim.owner AND fence = :claim.fence AND lease_until > db_now_ms()
    AND state IN ('NEW', 'OPEN');

-- name: insert_attempt(claim, attempt, now_ms)!
-- The row of the intent is locked first: what is asked of it afterwards, and of the clock, is true
-- until the end of the transaction, however long somebody else had it. Attempts of two intents
-- wait for one another at lock_spending.
WITH held AS MATERIALIZED (SELECT * FROM intent WHERE id = :claim.intent_id FOR UPDATE)
INSERT INTO attempt (
    sig, intent_id, n, raw, blockhash, lvbh, min_ctx_slot, cu_limit, cu_price,
    max_cost_lamports, symbol, state, signed_ms
)
SELECT
    :attempt.signature, i.id, :attempt.n, :attempt.raw, :attempt.blockhash,
    :attempt.last_valid_block_height, :attempt.min_context_slot, :attempt.compute_unit_limit,
    :attempt.compute_unit_price_micro_lamports, :attempt.max_cost_lamports, :attempt.symbol,
    :attempt.state, :now_ms
FROM held AS i
WHERE i.position = :attempt.position
    AND i.owner = :claim.owner AND i.fence = :claim.fence AND i.lease_until > db_now_ms()
    AND i.state IN ('NEW', 'OPEN')
    AND NOT EXISTS (
        SELECT 1 FROM attempt AS a WHERE a.intent_id = i.id AND a.state = 'FINALIZED_OK'
    )
    AND NOT EXISTS (
        SELECT 1 FROM intent AS another INNER JOIN attempt AS a ON a.intent_id = another.id
        WHERE another.program = i.program AND another.position = i.position AND another.id <> i.id
            AND a.state IN ('SIGNED', 'SENT', 'SEEN')
    );

-- name: attempt_state(signature)^
-- Of two that end an attempt at once the second waits here, and then finds it ended.
SELECT state FROM attempt WHERE sig = :signature FOR UPDATE;

-- name: append_event(kind, body_json, now_ms)^
WITH next AS (UPDATE event_counter SET seq = seq + 1 RETURNING seq)
INSERT INTO events (seq, kind, at_ms, body_json)
SELECT seq, :kind, :now_ms, :body_json FROM next
RETURNING seq;

-- name: last_seq()^
SELECT seq FROM event_counter;

-- name: liquidation_sums()^
SELECT
    COUNT(*) AS liquidations,
    COALESCE(SUM(is_full_liquidation), 0) AS full_count,
    0 AS rewards_high, COALESCE(SUM(liquidator_reward), 0) AS rewards_low,
    0 AS bad_debt_high, COALESCE(SUM(bad_debt), 0) AS bad_debt_low,
    0 AS bad_debt_uncovered_high, COALESCE(SUM(bad_debt_uncovered), 0) AS bad_debt_uncovered_low
FROM liquidations;

-- name: day_sums(since_s)
-- The day counts from 1970.
SELECT
    timestamp / 86400 AS day,
    venue,
    symbol,
    COUNT(*) AS liquidations,
    COALESCE(SUM(is_full_liquidation), 0) AS full_count,
    COALESCE(SUM(fee_lamports), 0) AS fees_lamports,
    0 AS size_high, SUM(liquidated_size) AS size_low,
    0 AS rewards_high, SUM(liquidator_reward) AS rewards_low,
    0 AS bad_debt_high, SUM(bad_debt) AS bad_debt_low,
    0 AS bad_debt_uncovered_high, SUM(bad_debt_uncovered) AS bad_debt_uncovered_low
FROM liquidations
WHERE timestamp >= :since_s
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- name: oversized_amounts(since_s)
-- NUMERIC has room for all of them.
SELECT timestamp FROM liquidations WHERE FALSE AND timestamp >= :since_s;

-- name: lock_spending()^
-- Two writers that count what is spent must not both find room for the same lamports.
SELECT pg_advisory_xact_lock(hashtextextended('liqctl spending', 0));
