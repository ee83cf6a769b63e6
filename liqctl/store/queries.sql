-- The statements of the store for every engine, one name each; aiosql turns them into functions.
-- What engines cannot share is in sqlite.sql, postgres.sql, under the same names in each.
-- Rules: parameters are declared; times come in as parameters (no clock and no dice in SQL);
-- what is due before bytes leave the process is one explicit statement here.

-- name: in_flight(request)^
-- What is live for an earlier generation could hit a position that was opened again.
SELECT EXISTS (
    SELECT 1 FROM intent AS i INNER JOIN attempt AS a ON a.intent_id = i.id
    WHERE i.program = :request.program AND i.position = :request.position
        AND a.state IN ('SIGNED', 'SENT', 'SEEN')
) AS has_live;

-- name: latest_intent(request, generation)^
SELECT id, step, state
FROM intent
WHERE program = :request.program AND position = :request.position AND generation = :generation
ORDER BY step DESC
LIMIT 1;

-- name: insert_intent(request, generation, step, key, owner, now_ms, lease_until)^
INSERT INTO intent (
    key, state, owner, fence, lease_until, decision_slot, snapshot_json, created, updated,
    venue, program, position, generation, step
) VALUES (
    :key, 'NEW', :owner, 1, :lease_until, :request.decision_slot, :request.snapshot_json,
    :now_ms, :now_ms, :request.venue, :request.program, :request.position, :generation, :step
)
RETURNING id;

-- name: take_intent(intent_id, owner, now_ms, lease_until)^
UPDATE intent SET owner = :owner, fence = fence + 1, lease_until = :lease_until, updated = :now_ms
WHERE id = :intent_id
    AND state IN ('NEW', 'OPEN')
    AND (
        owner IS NULL OR owner = :owner OR lease_until <= :now_ms
        -- None is granted for longer: the clock that wrote it has been set back since.
        OR lease_until > :lease_until
    )
RETURNING key, fence, (SELECT COUNT(*) FROM attempt WHERE intent_id = intent.id) AS attempts;

-- name: refresh_decision(intent_id, request)!
UPDATE intent
SET decision_slot = :request.decision_slot, snapshot_json = :request.snapshot_json
WHERE id = :intent_id;

-- name: renew_lease(claim, now_ms, lease_until)!
UPDATE intent SET lease_until = :lease_until, updated = :now_ms
WHERE id = :claim.intent_id
    AND owner = :claim.owner AND fence = :claim.fence AND lease_until > :now_ms
    AND state IN ('NEW', 'OPEN');

-- name: release_lease(claim, now_ms)!
UPDATE intent SET owner = NULL, lease_until = 0, updated = :now_ms
WHERE id = :claim.intent_id AND owner = :claim.owner AND fence = :claim.fence;

-- name: read_slot_min(intent_id)^
-- By this slot every attempt for the position that is not live was final or proven absent.
SELECT COALESCE(MAX(a.final_slot), 0) AS slot
FROM intent AS mine
    INNER JOIN intent AS i ON i.program = mine.program AND i.position = mine.position
    INNER JOIN attempt AS a ON a.intent_id = i.id
WHERE mine.id = :intent_id;

-- name: free_intent(intent_id, now_ms)!
UPDATE intent SET owner = NULL, lease_until = 0, updated = :now_ms WHERE id = :intent_id;

-- name: judge_intent(claim, decision_slot)!
UPDATE intent SET decision_slot = :decision_slot
WHERE id = :claim.intent_id AND owner = :claim.owner AND fence = :claim.fence;

-- name: insert_attempt(claim, attempt, now_ms)!
-- Ownership and insert are one statement: asking first and inserting then would be a race.
INSERT INTO attempt (
    sig, intent_id, n, raw, blockhash, lvbh, min_ctx_slot, cu_limit, cu_price,
    max_cost_lamports, symbol, state, signed_ms
)
SELECT
    :attempt.signature, i.id, :attempt.n, :attempt.raw, :attempt.blockhash,
    :attempt.last_valid_block_height, :attempt.min_context_slot, :attempt.compute_unit_limit,
    :attempt.compute_unit_price_micro_lamports, :attempt.max_cost_lamports, :attempt.symbol,
    :attempt.state, :now_ms
FROM intent AS i
WHERE i.id = :claim.intent_id
    AND i.position = :attempt.position
    AND i.owner = :claim.owner AND i.fence = :claim.fence AND i.lease_until > :now_ms
    AND i.state IN ('NEW', 'OPEN')
    AND NOT EXISTS (
        SELECT 1 FROM attempt AS a WHERE a.intent_id = i.id AND a.state = 'FINALIZED_OK'
    )
    AND NOT EXISTS (
        SELECT 1 FROM intent AS another INNER JOIN attempt AS a ON a.intent_id = another.id
        WHERE another.program = i.program AND another.position = i.position AND another.id <> i.id
            AND a.state IN ('SIGNED', 'SENT', 'SEEN')
    );

-- name: open_intent(intent_id, now_ms)!
UPDATE intent SET state = 'OPEN', updated = :now_ms WHERE id = :intent_id;

-- name: end_claimed_intent(claim, state, reason, now_ms)!
UPDATE intent
SET state = :state, reason = :reason, owner = NULL, lease_until = 0, updated = :now_ms
WHERE id = :claim.intent_id AND owner = :claim.owner AND fence = :claim.fence
    AND state IN ('NEW', 'OPEN');

-- name: end_intent(intent_id, state, reason, now_ms)!
UPDATE intent
SET state = :state, reason = :reason, owner = NULL, lease_until = 0, updated = :now_ms
WHERE id = :intent_id;

-- name: reopen_held(position, now_ms)!
UPDATE intent SET state = 'OPEN', reason = '', updated = :now_ms
WHERE state = 'HELD' AND (CAST(:position AS TEXT) IS NULL OR position = :position);

-- name: mark_sent(signature, now_ms)!
UPDATE attempt SET
    state = CASE WHEN state = 'SIGNED' THEN 'SENT' ELSE state END,
    sends = sends + 1,
    first_sent = COALESCE(first_sent, :now_ms),
    last_sent = :now_ms
WHERE sig = :signature AND state IN ('SIGNED', 'SENT', 'SEEN');

-- name: mark_seen(signature, slot, level)!
UPDATE attempt SET state = 'SEEN', seen_slot = :slot, seen_level = :level
WHERE sig = :signature AND state IN ('SIGNED', 'SENT', 'SEEN');

-- name: mark_unseen(signature)!
UPDATE attempt SET state = 'SENT', seen_slot = NULL, seen_level = NULL
WHERE sig = :signature AND state = 'SEEN';

-- name: end_attempt(signature, ending, now_ms)^
-- A repeated ending only fills in what the node did not tell the first time.
UPDATE attempt SET
    state = :ending.state,
    final_slot = COALESCE(final_slot, :ending.final_slot),
    fee_paid = COALESCE(fee_paid, :ending.fee_lamports),
    cost_lamports = COALESCE(cost_lamports, :ending.cost_lamports),
    err_json = COALESCE(err_json, :ending.error_json),
    proof_json = COALESCE(proof_json, :ending.proof_json),
    ended_ms = COALESCE(ended_ms, :now_ms)
WHERE sig = :signature
RETURNING intent_id;

-- name: attempt_state(signature)^
SELECT state FROM attempt WHERE sig = :signature;

-- name: live_attempts(program)
-- The sum keeps SQLite from walking all attempts by time instead of the few live ones.
SELECT a.*, i.position
FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE a.state IN ('SIGNED', 'SENT', 'SEEN')
    AND (CAST(:program AS TEXT) IS NULL OR i.program = :program)
ORDER BY a.signed_ms + 0, a.intent_id, a.n;

-- name: unpriced_attempts(program, limit)
SELECT a.*, i.position
FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE a.state IN ('FINALIZED_OK', 'FINALIZED_ERR') AND a.fee_paid IS NULL
    AND (CAST(:program AS TEXT) IS NULL OR i.program = :program)
ORDER BY a.signed_ms DESC
LIMIT :limit;

-- name: price_attempt(signature, fee_lamports, cost_lamports)!
UPDATE attempt SET
    fee_paid = :fee_lamports,
    cost_lamports = COALESCE(cost_lamports, :cost_lamports)
WHERE sig = :signature AND fee_paid IS NULL;

-- name: correct_liquidation(row, amount)!
UPDATE liquidations SET
    liquidated_size = :amount.liquidated_size,
    liquidation_price = :amount.liquidation_price,
    liquidator_reward = :amount.liquidator_reward,
    bad_debt = :amount.bad_debt,
    bad_debt_uncovered = :amount.bad_debt_uncovered,
    fund_delta = :amount.fund_delta,
    is_full_liquidation = :row.is_full_liquidation,
    timestamp = :row.timestamp,
    fee_lamports = :row.fee_lamports
WHERE signature = :row.signature AND fee_lamports IS NULL;

-- name: intent_of(signature)^
SELECT i.* FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE a.sig = :signature;

-- name: spent_lamports(since_ms)^
-- What can still land counts, whatever the clock that wrote its time has been set to since.
SELECT COALESCE(SUM(lamports), 0) AS lamports FROM spend
WHERE signed_ms >= :since_ms OR state IN ('SIGNED', 'SENT', 'SEEN');

-- name: insert_liquidation(row, amount, health)!
INSERT INTO liquidations (
    position_pubkey, owner_pubkey, symbol, liquidated_size, liquidation_price,
    liquidator_pubkey, liquidator_reward, bad_debt, health_factor_before, is_full_liquidation,
    timestamp, created_at, venue, signature, slot, fee_lamports, fund_delta,
    bad_debt_uncovered, generation, decision_latency_us
) VALUES (
    :row.position_pubkey, :row.owner_pubkey, :row.symbol, :amount.liquidated_size,
    :amount.liquidation_price, :row.liquidator_pubkey, :amount.liquidator_reward,
    :amount.bad_debt, :health, :row.is_full_liquidation,
    :row.timestamp, :row.created_at, :row.venue, :row.signature, :row.slot, :row.fee_lamports,
    :amount.fund_delta, :amount.bad_debt_uncovered, :amount.generation, :row.decision_latency_us
)
ON CONFLICT (signature) DO NOTHING;

-- name: fill_liquidation_fee(signature, fee_lamports)!
UPDATE liquidations SET fee_lamports = COALESCE(fee_lamports, :fee_lamports)
WHERE signature = :signature;

-- name: insert_failure(row)!
INSERT INTO failed_liquidations (
    position_pubkey, symbol, failure_class, detail, signature, slot, at_ms
) VALUES (
    :row.position_pubkey, :row.symbol, :row.failure_class, :row.detail, :row.signature,
    :row.slot, :row.at_ms
);

-- name: failure_counts()^
SELECT
    (SELECT COUNT(*) FROM failed_liquidations) AS all_count,
    (
        SELECT COUNT(*) FROM failed_liquidations WHERE failure_class = 'lost_race'
    ) AS lost_race_count;

-- name: fees_lamports()^
SELECT COALESCE(SUM(fee_paid), 0) AS lamports FROM attempt;

-- name: append_event(kind, body_json, now_ms)^
INSERT INTO events (kind, at_ms, body_json) VALUES (:kind, :now_ms, :body_json) RETURNING seq;

-- name: events_since(seq, limit)
SELECT seq, kind, at_ms, body_json FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit;

-- name: prune_events(keep, batch)!
DELETE FROM events WHERE seq IN (
    SELECT seq FROM events
    WHERE seq <= (SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET :keep)
    ORDER BY seq LIMIT :batch
);

-- name: insert_insurance(row, amount)!
INSERT INTO insurance_balance (
    venue, address, balance, bad_debt_covered, bad_debt_uncovered, slot, at_ms
) VALUES (
    :row.venue, :row.address, :amount.balance, :amount.bad_debt_covered,
    :amount.bad_debt_uncovered, :row.slot, :row.at_ms
);

-- name: insurance_history(limit)
SELECT * FROM insurance_balance ORDER BY id DESC LIMIT :limit;

-- name: put_queue_row(row, size, health)!
INSERT INTO queue (
    position, owner, venue, symbol, side, size, health, state, reason, tries, next_try_ms,
    since_ms, order_waiting
) VALUES (
    :row.position, :row.owner, :row.venue, :row.symbol, :row.side, :size, :health, :row.state,
    :row.reason, :row.tries, :row.next_try_ms, :row.since_ms, NULL
)
ON CONFLICT (position) DO UPDATE SET
    owner = excluded.owner, venue = excluded.venue, symbol = excluded.symbol,
    side = excluded.side, size = excluded.size, health = excluded.health,
    state = excluded.state, reason = excluded.reason, tries = excluded.tries,
    next_try_ms = excluded.next_try_ms, since_ms = excluded.since_ms
WHERE queue.order_waiting IS NULL;

-- name: remove_queue_row(position)!
DELETE FROM queue WHERE position = :position AND order_waiting IS NULL;

-- name: order_queue_row(row, size, health, order)!
-- What a scan has just read is news; state, tries and times of an existing row are the keeper's.
INSERT INTO queue (
    position, owner, venue, symbol, side, size, health, state, reason, tries, next_try_ms,
    since_ms, order_waiting
) VALUES (
    :row.position, :row.owner, :row.venue, :row.symbol, :row.side, :size, :health, :row.state,
    :row.reason, :row.tries, :row.next_try_ms, :row.since_ms, :order
)
ON CONFLICT (position) DO UPDATE SET
    owner = excluded.owner, venue = excluded.venue, symbol = excluded.symbol,
    side = excluded.side, size = excluded.size, health = excluded.health,
    order_waiting = excluded.order_waiting;

-- name: set_order(position, order)!
UPDATE queue SET order_waiting = :order WHERE position = :position;

-- name: rows_with_orders(venue)
SELECT * FROM queue
WHERE order_waiting IS NOT NULL AND (CAST(:venue AS TEXT) IS NULL OR venue = :venue)
ORDER BY health NULLS LAST, position;

-- name: delete_dropped(position)!
DELETE FROM queue WHERE position = :position AND order_waiting = 'drop';

-- name: cancel_order(position, order)!
UPDATE queue SET order_waiting = NULL WHERE position = :position AND order_waiting = :order;

-- name: queue_rows(venue)
SELECT * FROM queue
WHERE CAST(:venue AS TEXT) IS NULL OR venue = :venue
ORDER BY health NULLS LAST, position;

-- name: put_state(name, value_json, now_ms)!
INSERT INTO state (name, value_json, at_ms) VALUES (:name, :value_json, :now_ms)
ON CONFLICT (name) DO UPDATE SET value_json = excluded.value_json, at_ms = excluded.at_ms;

-- name: take_state(name, value_json, now_ms, lapse_ms)!
INSERT INTO state (name, value_json, at_ms) VALUES (:name, :value_json, :now_ms)
ON CONFLICT (name) DO UPDATE SET value_json = excluded.value_json, at_ms = excluded.at_ms
WHERE state.value_json = excluded.value_json
    OR abs(excluded.at_ms - state.at_ms) >= :lapse_ms;

-- name: state(name)^
SELECT value_json, at_ms FROM state WHERE name = :name;

-- name: states(prefix, last)
SELECT name, value_json, at_ms FROM state WHERE name >= :prefix AND name <= :last ORDER BY name;

-- name: remove_state(name)!
DELETE FROM state WHERE name = :name;

-- name: forget_state(name, before_ms)!
DELETE FROM state WHERE name = :name AND at_ms < :before_ms;

-- name: put_positions*!
INSERT INTO positions (
    position, owner, venue, market, symbol, side, size, collateral, entry_price, liquidatable,
    reason, health, equity, maintenance_margin, liquidation_price, mark_price, slot, at_ms
) VALUES (
    :position, :owner, :venue, :market, :symbol, :side, :size, :collateral, :entry_price,
    :liquidatable, :reason, :health, :equity, :maintenance_margin, :liquidation_price,
    :mark_price, :slot, :at_ms
)
ON CONFLICT (position) DO UPDATE SET
    owner = excluded.owner, venue = excluded.venue, market = excluded.market,
    symbol = excluded.symbol, side = excluded.side, size = excluded.size,
    collateral = excluded.collateral, entry_price = excluded.entry_price,
    liquidatable = excluded.liquidatable, reason = excluded.reason, health = excluded.health,
    equity = excluded.equity, maintenance_margin = excluded.maintenance_margin,
    liquidation_price = excluded.liquidation_price, mark_price = excluded.mark_price,
    slot = excluded.slot, at_ms = excluded.at_ms;

-- name: remove_positions*!
DELETE FROM positions WHERE position = :position;

-- name: all_positions(health_rank, position, limit)
SELECT * FROM positions
WHERE (health_rank, position) > (:health_rank, :position)
ORDER BY health_rank, position
LIMIT :limit;

-- name: positions_of_venue(venue, health_rank, position, limit)
SELECT * FROM positions
WHERE venue = :venue AND (health_rank, position) > (:health_rank, :position)
ORDER BY health_rank, position
LIMIT :limit;

-- name: positions_of_symbol(symbol, venue, health_rank, position, limit)
SELECT * FROM positions
WHERE symbol = :symbol
    AND (CAST(:venue AS TEXT) IS NULL OR venue = :venue)
    AND (health_rank, position) > (:health_rank, :position)
ORDER BY health_rank, position
LIMIT :limit;

-- name: positions_of_owner(owner, symbol, venue, health_rank, position, limit)
SELECT * FROM positions
WHERE owner = :owner
    AND (CAST(:symbol AS TEXT) IS NULL OR symbol = :symbol)
    AND (CAST(:venue AS TEXT) IS NULL OR venue = :venue)
    AND (health_rank, position) > (:health_rank, :position)
ORDER BY health_rank, position
LIMIT :limit;

-- name: position(position)^
SELECT * FROM positions WHERE position = :position;

-- name: forget_positions(venue, before_ms, batch)!
DELETE FROM positions WHERE position IN (
    SELECT position FROM positions WHERE venue = :venue AND at_ms < :before_ms LIMIT :batch
);

-- name: put_prices*!
INSERT INTO prices (
    venue, market, symbol, price, confidence, publish_time, source, refusal, max_age_s, slot, at_ms
) VALUES (
    :venue, :market, :symbol, :price, :confidence, :publish_time, :source, :refusal, :max_age_s,
    :slot, :at_ms
)
ON CONFLICT (venue, market) DO UPDATE SET
    symbol = excluded.symbol, price = excluded.price, confidence = excluded.confidence,
    publish_time = excluded.publish_time, source = excluded.source, refusal = excluded.refusal,
    max_age_s = excluded.max_age_s, slot = excluded.slot, at_ms = excluded.at_ms;

-- name: prices()
SELECT * FROM prices ORDER BY venue, symbol, market;

-- name: all_liquidations(query, limit)
SELECT * FROM liquidations
WHERE (CAST(:query.symbol AS TEXT) IS NULL OR symbol = :query.symbol)
    AND (CAST(:query.venue AS TEXT) IS NULL OR venue = :query.venue)
    AND (CAST(:query.full AS INTEGER) IS NULL OR is_full_liquidation = :query.full)
    AND (CAST(:query.since_s AS BIGINT) IS NULL OR timestamp >= :query.since_s)
    AND (CAST(:query.until_s AS BIGINT) IS NULL OR timestamp < :query.until_s)
    AND (CAST(:query.before_id AS BIGINT) IS NULL OR id < :query.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: liquidations_of_position(query, limit)
SELECT * FROM liquidations
WHERE position_pubkey = :query.position
    AND (CAST(:query.owner AS TEXT) IS NULL OR owner_pubkey = :query.owner)
    AND (CAST(:query.symbol AS TEXT) IS NULL OR symbol = :query.symbol)
    AND (CAST(:query.venue AS TEXT) IS NULL OR venue = :query.venue)
    AND (CAST(:query.full AS INTEGER) IS NULL OR is_full_liquidation = :query.full)
    AND (CAST(:query.since_s AS BIGINT) IS NULL OR timestamp >= :query.since_s)
    AND (CAST(:query.until_s AS BIGINT) IS NULL OR timestamp < :query.until_s)
    AND (CAST(:query.before_id AS BIGINT) IS NULL OR id < :query.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: liquidations_of_owner(query, limit)
SELECT * FROM liquidations
WHERE owner_pubkey = :query.owner
    AND (CAST(:query.symbol AS TEXT) IS NULL OR symbol = :query.symbol)
    AND (CAST(:query.venue AS TEXT) IS NULL OR venue = :query.venue)
    AND (CAST(:query.full AS INTEGER) IS NULL OR is_full_liquidation = :query.full)
    AND (CAST(:query.since_s AS BIGINT) IS NULL OR timestamp >= :query.since_s)
    AND (CAST(:query.until_s AS BIGINT) IS NULL OR timestamp < :query.until_s)
    AND (CAST(:query.before_id AS BIGINT) IS NULL OR id < :query.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: latencies_us(limit)
SELECT decision_latency_us FROM liquidations
WHERE decision_latency_us IS NOT NULL
ORDER BY id DESC
LIMIT :limit;

-- name: all_failures(only, limit)
SELECT * FROM failed_liquidations
WHERE (CAST(:only.symbol AS TEXT) IS NULL OR symbol = :only.symbol)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR at_ms >= :only.since_ms)
    AND (CAST(:only.until_ms AS BIGINT) IS NULL OR at_ms < :only.until_ms)
    AND (CAST(:only.before_id AS BIGINT) IS NULL OR id < :only.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: failures_of_position(only, limit)
SELECT * FROM failed_liquidations
WHERE position_pubkey = :only.position
    AND (CAST(:only.failure_class AS TEXT) IS NULL OR failure_class = :only.failure_class)
    AND (CAST(:only.symbol AS TEXT) IS NULL OR symbol = :only.symbol)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR at_ms >= :only.since_ms)
    AND (CAST(:only.until_ms AS BIGINT) IS NULL OR at_ms < :only.until_ms)
    AND (CAST(:only.before_id AS BIGINT) IS NULL OR id < :only.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: failures_of_class(only, limit)
SELECT * FROM failed_liquidations
WHERE failure_class = :only.failure_class
    AND (CAST(:only.symbol AS TEXT) IS NULL OR symbol = :only.symbol)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR at_ms >= :only.since_ms)
    AND (CAST(:only.until_ms AS BIGINT) IS NULL OR at_ms < :only.until_ms)
    AND (CAST(:only.before_id AS BIGINT) IS NULL OR id < :only.before_id)
ORDER BY id DESC
LIMIT :limit;

-- name: failure_classes()
SELECT failure_class AS name, COUNT(*) AS rows FROM failed_liquidations
GROUP BY failure_class ORDER BY failure_class;

-- name: all_attempts(only, limit)
SELECT
    a.sig, a.intent_id, a.n, i.venue, i.position, a.symbol, a.state, a.signed_ms, a.first_sent,
    a.ended_ms, a.sends, a.max_cost_lamports, a.fee_paid, a.seen_slot, a.final_slot, a.err_json
FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE (a.signed_ms, a.sig) < (:only.before_ms, :only.before_signature)
    AND (CAST(:only.symbol AS TEXT) IS NULL OR a.symbol = :only.symbol)
    AND (CAST(:only.venue AS TEXT) IS NULL OR i.venue = :only.venue)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR a.signed_ms >= :only.since_ms)
ORDER BY a.signed_ms DESC, a.sig DESC
LIMIT :limit;

-- name: attempts_in_state(only, limit)
SELECT
    a.sig, a.intent_id, a.n, i.venue, i.position, a.symbol, a.state, a.signed_ms, a.first_sent,
    a.ended_ms, a.sends, a.max_cost_lamports, a.fee_paid, a.seen_slot, a.final_slot, a.err_json
FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE a.state = :only.state
    AND (a.signed_ms, a.sig) < (:only.before_ms, :only.before_signature)
    AND (CAST(:only.symbol AS TEXT) IS NULL OR a.symbol = :only.symbol)
    AND (CAST(:only.venue AS TEXT) IS NULL OR i.venue = :only.venue)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR a.signed_ms >= :only.since_ms)
ORDER BY a.signed_ms DESC, a.sig DESC
LIMIT :limit;

-- name: attempts_of_position(only, limit)
SELECT
    a.sig, a.intent_id, a.n, i.venue, i.position, a.symbol, a.state, a.signed_ms, a.first_sent,
    a.ended_ms, a.sends, a.max_cost_lamports, a.fee_paid, a.seen_slot, a.final_slot, a.err_json
FROM attempt AS a INNER JOIN intent AS i ON i.id = a.intent_id
WHERE i.position = :only.position
    AND (a.signed_ms, a.sig) < (:only.before_ms, :only.before_signature)
    AND (CAST(:only.state AS TEXT) IS NULL OR a.state = :only.state)
    AND (CAST(:only.symbol AS TEXT) IS NULL OR a.symbol = :only.symbol)
    AND (CAST(:only.venue AS TEXT) IS NULL OR i.venue = :only.venue)
    AND (CAST(:only.since_ms AS BIGINT) IS NULL OR a.signed_ms >= :only.since_ms)
ORDER BY a.signed_ms DESC, a.sig DESC
LIMIT :limit;

-- name: attempt_counts()
SELECT state AS name, COUNT(*) AS rows FROM attempt GROUP BY state ORDER BY state;

-- name: insert_alert(alert)^
INSERT INTO alert (
    rule, subject, severity, state, title, body, raised_ms, resolved_ms, notified_ms
) VALUES (
    :alert.rule, :alert.subject, :alert.severity, :alert.state, :alert.title, :alert.body,
    :alert.raised_ms, :alert.resolved_ms, :alert.notified_ms
)
RETURNING id;

-- name: update_alert(alert)!
UPDATE alert SET
    severity = :alert.severity, state = :alert.state, title = :alert.title, body = :alert.body,
    resolved_ms = :alert.resolved_ms, notified_ms = :alert.notified_ms
WHERE id = :alert.id AND state = 'firing';

-- name: firing_alerts()
SELECT * FROM alert WHERE state = 'firing' ORDER BY raised_ms, id;

-- name: alerts(before_id, limit)
SELECT * FROM alert
WHERE CAST(:before_id AS BIGINT) IS NULL OR id < :before_id
ORDER BY id DESC
LIMIT :limit;

-- name: insert_delivery(delivery, alert_id)^
INSERT INTO alert_delivery (
    alert_id, channel, severity, dedup_key, resolves, title, body, created_ms, tries, next_try_ms,
    delivered_ms, error
) VALUES (
    :alert_id, :delivery.channel, :delivery.severity, :delivery.dedup_key, :delivery.resolves,
    :delivery.title, :delivery.body, :delivery.created_ms, :delivery.tries, :delivery.next_try_ms,
    :delivery.delivered_ms, :delivery.error
)
RETURNING id;

-- name: due_deliveries(now_ms, limit)
SELECT * FROM alert_delivery
WHERE id IN (
    SELECT id FROM (
        SELECT id, ROW_NUMBER() OVER (PARTITION BY channel ORDER BY id) AS place
        FROM alert_delivery
        WHERE delivered_ms IS NULL AND next_try_ms <= :now_ms
    ) AS due
    WHERE place <= :limit
)
ORDER BY id;

-- name: end_delivery(delivery_id, now_ms)!
UPDATE alert_delivery SET delivered_ms = :now_ms WHERE id = :delivery_id AND delivered_ms IS NULL;

-- name: delay_delivery(delivery_id, error, next_try_ms)!
UPDATE alert_delivery SET tries = tries + 1, error = :error, next_try_ms = :next_try_ms
WHERE id = :delivery_id AND delivered_ms IS NULL;

-- name: deliveries(limit)
SELECT * FROM alert_delivery ORDER BY id DESC LIMIT :limit;

-- name: prune_delivered(before_ms)!
DELETE FROM alert_delivery WHERE delivered_ms < :before_ms;

-- name: prune_given_up(before_ms, given_up_ms)!
DELETE FROM alert_delivery
WHERE delivered_ms IS NULL AND next_try_ms >= :given_up_ms AND created_ms < :before_ms;

-- name: prune_resolved(before_ms)!
DELETE FROM alert
WHERE state = 'resolved' AND resolved_ms < :before_ms
    AND NOT EXISTS (SELECT 1 FROM alert_delivery AS d WHERE d.alert_id = alert.id);
