"""JSON-RPC answers as plain functions of the world: no sockets, no time, no waiting."""
