"""liqctl: watch perpetual-futures positions on Solana and liquidate the unhealthy ones, exactly once."""

__version__ = "0.1.0"
