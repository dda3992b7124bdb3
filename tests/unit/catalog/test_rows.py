"""Our own form of a catalog: CSV and TOML."""

import pytest
from tests.samples.catalog_files import Write

from meritorder.catalog import load
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError

OWN_HEADER = "provider,region,instance,hardware,gpus,pricing_model,usd_per_hour,term,as_of\n"


def test_own_toml_adds_every_table(write: Write) -> None:
    text = """
[[hardware]]
id = "mi300x"
name = "AMD Instinct MI300X"
memory_bytes = 206_158_430_208
memory_bandwidth_bytes_per_s = 5.3e12
bf16_flops = 1307e12
power_w = 750

[[model]]
id = "house-7b"
hf_id = "acme/house-7b"
parameters = 7e9
precision = "bf16"
context_tokens = 8192
kv = { layers = 32, kv_heads = 8, head_dim = 128 }

[[offer]]
provider = "Acme"
instance = "rack"
hardware = "mi300x"
gpus = 8
pricing_model = "on_demand"
usd_per_hour = 16.0
"""
    catalog = load([write("mine.toml", text)])
    assert catalog.find_hardware("MI300X").fp8_flops is None
    assert catalog.find_model("acme/house-7b").kv_bytes_per_token == 131_072
    assert catalog.cheapest("mi300x", 4, [PricingModel.ON_DEMAND]).provider == "acme"


@pytest.mark.parametrize("price", ["nan", "0", "-3", "inf"])
def test_wrong_price_names_its_row(write: Write, price: str) -> None:
    text = OWN_HEADER + f"a,,x,h100,8,on_demand,20,,2026-10-01\na,,y,h100,8,on_demand,{price},,2026-10-01\n"
    with pytest.raises(CatalogError, match=r"mine\.csv, row 3: price must be a positive number"):
        load([write("mine.csv", text)])
