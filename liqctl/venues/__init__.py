"""On-chain programs: bytes to core values, verdicts, instructions."""
