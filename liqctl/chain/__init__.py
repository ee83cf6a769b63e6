"""JSON-RPC, subscriptions, wallet and transactions."""
