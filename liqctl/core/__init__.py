"""Pure integer logic: no input, no output, no clock."""
