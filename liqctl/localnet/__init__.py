"""The embedded chain: a Solana VM behind a real JSON-RPC and WebSocket server."""
