"""Facts with their sources: hardware, models, and what capacity and tokens cost.

    hardware.toml  models.toml  offers.csv ──┐
    --catalog FILE (ours, SkyPilot, AWS) ────┴─► sanity ──► Catalog
    genai-prices ──► tokens.py ──► token prices

Every price carries its source and date. An unknown price stays unknown; an implausible one is
rejected with a reason.
"""

from meritorder.catalog.files import load
from meritorder.catalog.lookup import Catalog
from meritorder.catalog.sanity import Rejection

__all__ = ["Catalog", "Rejection", "load"]
