"""Alert rules and channels."""
