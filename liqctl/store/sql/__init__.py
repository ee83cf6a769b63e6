"""The store over any SQL engine: all that is done with rows, for an engine to inherit (see session)."""
