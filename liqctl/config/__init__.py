"""Settings: layered, validated once, frozen; every value remembers where it came from."""

from liqctl.config.layers import Files, Loaded, load
from liqctl.config.settings import MarketSettings, Settings
from liqctl.config.values import MONIKERS, log_levels

__all__ = ["MONIKERS", "Files", "Loaded", "MarketSettings", "Settings", "load", "log_levels"]
