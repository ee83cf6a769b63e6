"""The durable record: intents, attempts, liquidations, events."""
