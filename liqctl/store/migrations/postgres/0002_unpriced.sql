-- What a node did not tell at the end of an attempt is asked for again; few attempts are like that.

CREATE INDEX attempt_unpriced ON attempt (signed_ms)
    WHERE state IN ('FINALIZED_OK', 'FINALIZED_ERR') AND fee_paid IS NULL;
