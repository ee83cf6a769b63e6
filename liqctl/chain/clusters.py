"""The public clusters by their genesis hash; the name of a URL proves nothing."""

MAINNET_GENESIS = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
CLUSTERS = {
    MAINNET_GENESIS: "mainnet-beta",
    "4uhcVJyU9pJkvQyUS88uRWiJySwPTPGcGkrKbJYHWJqY": "testnet",
    "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG": "devnet",
}
