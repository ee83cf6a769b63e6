-- What an attempt cost its payer, rent included; the fee alone is no part of what caps count.
ALTER TABLE attempt ADD COLUMN cost_lamports BIGINT;

-- Until a node tells the cost of a final attempt, its maximum counts as spent.
DROP VIEW spend;
CREATE VIEW spend AS
SELECT
    sig,
    signed_ms,
    state,
    CASE
        WHEN state IN ('EXPIRED', 'VOID') THEN 0
        WHEN state IN ('FINALIZED_OK', 'FINALIZED_ERR') THEN COALESCE(cost_lamports, max_cost_lamports)
        ELSE max_cost_lamports
    END AS lamports
FROM attempt;

-- A u128 of a program that counts in whole units of its quote has more digits once it is in 1e-6.
-- What is no number is still greater than every number.
ALTER DOMAIN amount DROP CONSTRAINT amount_is_whole;
ALTER DOMAIN amount ADD CONSTRAINT amount_is_whole
    CHECK (scale(VALUE) = 0 AND abs(VALUE) < 'Infinity');
