"""Facts with their sources: hardware, models, and what capacity and tokens cost.

    hardware.toml  models.toml  offers.csv ──┐
    --catalog FILE (ours, SkyPilot, AWS) ────┴─► sanity ──► Catalog
    genai-prices ──► tokens.py ──► token prices

Every price carries its source and date. What was not found stays unknown, what makes no sense is refused
with its reason.
"""

from meritorder.catalog.files import load
from meritorder.catalog.lookup import Catalog
from meritorder.catalog.sanity import Refusal

__all__ = ["Catalog", "Refusal", "load"]
