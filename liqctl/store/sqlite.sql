-- Statements that only SQLite understands; another engine defines the same names.
-- Sums are split at 10^9 so that no number of rows overflows 63 bits; amounts that are text
-- (see columns.py) are left out of them and come from oversized_amounts.

-- name: liquidation_sums()^
SELECT
    COUNT(*) AS liquidations,
    COALESCE(SUM(is_full_liquidation), 0) AS full_count,
    COALESCE(SUM(liquidator_reward / 1000000000) FILTER (WHERE typeof(liquidator_reward) = 'integer'), 0)
        AS rewards_high,
    COALESCE(SUM(liquidator_reward % 1000000000) FILTER (WHERE typeof(liquidator_reward) = 'integer'), 0)
        AS rewards_low,
    COALESCE(SUM(bad_debt / 1000000000) FILTER (WHERE typeof(bad_debt) = 'integer'), 0)
        AS bad_debt_high,
    COALESCE(SUM(bad_debt % 1000000000) FILTER (WHERE typeof(bad_debt) = 'integer'), 0)
        AS bad_debt_low,
    COALESCE(SUM(bad_debt_uncovered / 1000000000) FILTER (WHERE typeof(bad_debt_uncovered) = 'integer'), 0)
        AS bad_debt_uncovered_high,
    COALESCE(SUM(bad_debt_uncovered % 1000000000) FILTER (WHERE typeof(bad_debt_uncovered) = 'integer'), 0)
        AS bad_debt_uncovered_low
FROM liquidations;

-- name: day_sums(since_s)
-- The day counts from 1970.
SELECT
    timestamp / 86400 AS day,
    venue,
    symbol,
    COUNT(*) AS liquidations,
    SUM(is_full_liquidation) AS full_count,
    COALESCE(SUM(fee_lamports), 0) AS fees_lamports,
    COALESCE(SUM(liquidated_size / 1000000000) FILTER (WHERE typeof(liquidated_size) = 'integer'), 0)
        AS size_high,
    COALESCE(SUM(liquidated_size % 1000000000) FILTER (WHERE typeof(liquidated_size) = 'integer'), 0)
        AS size_low,
    COALESCE(SUM(liquidator_reward / 1000000000) FILTER (WHERE typeof(liquidator_reward) = 'integer'), 0)
        AS rewards_high,
    COALESCE(SUM(liquidator_reward % 1000000000) FILTER (WHERE typeof(liquidator_reward) = 'integer'), 0)
        AS rewards_low,
    COALESCE(SUM(bad_debt / 1000000000) FILTER (WHERE typeof(bad_debt) = 'integer'), 0)
        AS bad_debt_high,
    COALESCE(SUM(bad_debt % 1000000000) FILTER (WHERE typeof(bad_debt) = 'integer'), 0)
        AS bad_debt_low,
    COALESCE(SUM(bad_debt_uncovered / 1000000000) FILTER (WHERE typeof(bad_debt_uncovered) = 'integer'), 0)
        AS bad_debt_uncovered_high,
    COALESCE(SUM(bad_debt_uncovered % 1000000000) FILTER (WHERE typeof(bad_debt_uncovered) = 'integer'), 0)
        AS bad_debt_uncovered_low
FROM liquidations
WHERE timestamp >= :since_s
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- name: oversized_amounts(since_s)
SELECT
    timestamp / 86400 AS day, venue, symbol,
    liquidated_size AS size, liquidator_reward AS rewards, bad_debt, bad_debt_uncovered
FROM liquidations
WHERE timestamp >= :since_s AND (
    typeof(liquidated_size) = 'text' OR typeof(liquidator_reward) = 'text'
    OR typeof(bad_debt) = 'text' OR typeof(bad_debt_uncovered) = 'text'
);

-- name: last_seq()^
-- Not MAX(seq): pruning everything must not set the stream back.
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS seq;

-- name: lock_spending()^
-- A writer is alone here as it is.
SELECT 1;
