"""JSON-RPC answers as plain functions of a view of the chain: no sockets, no time, no waiting."""
