-- What may have been spent counts, whatever a node says of the fee: rent is no part of that.
DROP VIEW spend;
CREATE VIEW spend AS
SELECT
    sig,
    signed_ms,
    state,
    CASE WHEN state IN ('EXPIRED', 'VOID') THEN 0 ELSE max_cost_lamports END AS lamports
FROM attempt;
