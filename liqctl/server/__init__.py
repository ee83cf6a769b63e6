"""The HTTP and WebSocket API, fed from the store."""
