"""Catalogs of SkyPilot."""

import pytest
from tests.samples.catalog_files import Write

from meritorder.catalog import load
from meritorder.errors import CatalogError

SKYPILOT = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
8x_h100,H100,8.0,208,1800,"{'Gpus': [{'Name': 'H100'}]}",24.0,10.0,us-east,us-east-b
8x_h100,H100,8.0,208,1800,"{'Gpus': [{'Name': 'H100'}]}",24.0,9.0,us-east,us-east-a
1x_h100_pcie,H100,1.0,26,200,,3.1,0,us-east,
1x_a100,A100,1.0,30,200,,1.5,,us-east,
1x_a100_80,A100-80GB,1.0,30,200,,1.8,1.8,us-east,
,B200,8,,,,90.2,32.6,us-east,us-east-a
,tpu-v5e-8,1,,,tpu-v5e-8,9.6,4.8,us-east,us-east-a
m7.large,,,2,8,,0.1,0.03,us-east,us-east-a
"""


def test_skypilot_catalogs_are_read(write: Write) -> None:
    catalog = load([write("primus/vms.csv", SKYPILOT)])
    offers = {(o.instance, str(o.pricing_model)): o for o in catalog.select_offers(provider="primus")}
    assert offers["8x_h100", "on_demand"].usd_per_hour == 24
    assert offers["8x_h100", "spot"].usd_per_hour == 9  # the cheaper zone
    assert offers["1x_h100_pcie", "on_demand"].hardware == "h100-pcie"
    assert ("1x_h100_pcie", "spot") not in offers  # a spot price of zero is none
    assert offers["1x_a100", "on_demand"].hardware == "a100-40gb"
    assert offers["1x_a100_80", "on_demand"].hardware == "a100"
    reasons = {rejection.what: rejection.reason for rejection in catalog.rejected}
    assert "without its machine" in reasons["primus 8 x B200 us-east"]
    assert "saves nothing" in reasons["primus 1x_a100_80 us-east (spot)"]
    assert len(offers) == 5


@pytest.mark.parametrize("price", ["nan", "0", "-1", "dear"])
def test_skypilot_price_is_positive(write: Write, price: str) -> None:
    text = SKYPILOT + f"9x,H100,8,1,1,,{price},,us-east,\n"
    with pytest.raises(CatalogError, match=r"vms\.csv, row 10: Price must be a positive number"):
        load([write("primus/vms.csv", text)])
