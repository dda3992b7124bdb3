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
    assert any("8 x B200 us-east without its machine" in reason for reason in reasons.values())
    assert "saves nothing" in reasons["primus 1x_a100_80 us-east (spot)"]
    assert len(offers) == 5


@pytest.mark.parametrize("price", ["nan", "0", "-1", "dear"])
def test_bad_price_leaves_out_its_row(write: Write, price: str) -> None:
    path = write("primus/vms.csv", SKYPILOT + f"9x,H100,8,1,1,,{price},,us-east,\n")
    catalog = load([path])
    assert {offer.instance for offer in catalog.select_offers(provider="primus")} >= {"8x_h100", "1x_a100"}
    reasons = {rejection.what: rejection.reason for rejection in catalog.rejected}
    assert reasons[f"{path}, row 10"].startswith("Price must be a positive number")


@pytest.mark.parametrize("row", ["9x,H100,8,1,1,,3,20,1,00,us-east,us-east-a", "9x,H100,8,1,1,,3.2,1.0"])
def test_shifted_cells_leave_out_row(write: Write, row: str) -> None:
    """A comma as decimal point, and a row that ends early, would put a price or a region into another column."""
    path = write("primus/vms.csv", SKYPILOT + f"{row}\n")
    catalog = load([path])
    assert "9x" not in {offer.instance for offer in catalog.select_offers(provider="primus")}
    reasons = {rejection.what: rejection.reason for rejection in catalog.rejected}
    assert reasons[f"{path}, row 10"] == "has another number of cells than the header"


@pytest.mark.parametrize("gpus", ["0.25", "1.5", "0", "-1", "nan", "many", ""])
def test_part_of_gpu_leaves_out_row(write: Write, gpus: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write("secundus.csv", SKYPILOT.splitlines()[0] + f"\nslice,L4,{gpus},2,8,,0.2,,eu,\nnode,L4,4,9,9,,3,,eu,\n")
    catalog = load([path])
    assert [offer.instance for offer in catalog.select_offers(provider="secundus")] == ["node"]
    assert f"{path}, row 2: AcceleratorCount must be a whole number of GPUs" in caplog.text


def test_file_without_valid_row_is_refused(write: Write) -> None:
    text = SKYPILOT.splitlines()[0] + "\nslice,L4,0.5,2,8,,0.2,,eu,\n"
    with pytest.raises(CatalogError, match=r"secundus\.csv, row 2: AcceleratorCount"):
        load([write("secundus.csv", text)])


def test_google_machine_is_sum_of_rows(write: Write) -> None:
    text = SKYPILOT.splitlines()[0] + (
        "\n,H200,8,,,,61.5,24,eu-w,eu-w-a\na3-ultragpu-8g,,,224,2952,,20.25,8,eu-w,eu-w-a\n"
        ",L4,2.0,,,,1.1,,eu-w,eu-w-b\ng2-standard-24,,,24,96,,0.9,0.3,eu-w,eu-w-b\n"
        ",A100-80GB,4,,,,16,,eu-w,eu-w-a\na2-ultragpu-4g,,,48,680,,4,,eu-w,eu-w-b\n"
        "n2-standard-8,,,8,32,,0.4,,eu-w,eu-w-a\n"
    )
    catalog = load([write("tertius.csv", text)])
    prices = {(o.instance, str(o.pricing_model)): o for o in catalog.select_offers(provider="tertius")}
    assert prices["a3-ultragpu-8g", "on_demand"].usd_per_hour == 61.5 + 20.25
    assert prices["a3-ultragpu-8g", "spot"].usd_per_hour == 24 + 8
    assert (prices["g2-standard-24", "on_demand"].usd_per_hour, prices["g2-standard-24", "on_demand"].gpus) == (2, 2)
    assert len(prices) == 3  # no spot price of the L4, and the host for the A100 is in another zone
    assert any("4 x A100-80GB eu-w without its machine" in rejection.reason for rejection in catalog.rejected)
