"""Facts with their sources: hardware, models, and what capacity and tokens cost.

    hardware.toml  models.toml  offers.csv ──┐
    fetched lists (sources, updates) ────────┤
    --catalog FILE (ours, SkyPilot, AWS) ────┴─► machines ──► sanity ──► Catalog
    genai-prices (genai.py), token_prices.csv ──► tokens.py ──► token prices

Every price carries its source and date. An unknown price stays unknown; an implausible one is
rejected with a reason.
"""

from meritorder.catalog.files import Source, arguments, load
from meritorder.catalog.lookup import Catalog
from meritorder.catalog.sanity import Rejection

__all__ = ["Catalog", "Rejection", "Source", "arguments", "load"]
