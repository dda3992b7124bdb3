"""Files of `--catalog`: found by content, added or overriding, and plain words where they are wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from meritorder.catalog import load
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError

Write = Callable[[str, str], Path]

OWN_HEADER = "provider,region,instance,hardware,gpus,pricing_model,usd_per_hour,term,as_of\n"

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


def aws_product(instance: str, gpus: str = "8", **attributes: str) -> dict[str, object]:
    about = {
        "instanceType": instance,
        "regionCode": "us-east-1",
        "gpu": gpus,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    return {"sku": "X", "productFamily": "Compute Instance", "attributes": about | attributes}


def aws_term(hourly: str, upfront: str | None = None, **attributes: str) -> dict[str, object]:
    dimensions = {"r1": {"unit": "Hrs", "pricePerUnit": {"USD": hourly}, "description": "an hour"}}
    if upfront is not None:
        dimensions["r2"] = {
            "unit": "Quantity",
            "pricePerUnit": {"USD": upfront},
            "description": "Upfront Fee",
        }
    return {"priceDimensions": dimensions, "termAttributes": attributes}


AWS_PRICE_LIST = {
    "formatVersion": "v1.0",
    "offerCode": "AmazonEC2",
    "version": "20261101000000",
    "publicationDate": "2026-11-01T12:00:00Z",
    "products": {
        "P5": aws_product("p5.48xlarge"),
        "BLOCK": aws_product("p5.48xlarge", marketoption="CapacityBlock"),
        "WINDOWS": aws_product("p5.48xlarge", operatingSystem="Windows"),
        "DEDICATED": aws_product("p5.48xlarge", tenancy="Dedicated"),
        "SQL": aws_product("p5.48xlarge", preInstalledSw="SQL Web"),
        "RESERVATION": aws_product("p5.48xlarge", capacitystatus="UnusedCapacityReservation"),
        "CPU": aws_product("m7i.large"),
    },
    "terms": {
        "OnDemand": {
            sku: {"t": aws_term("50.0")} for sku in ("P5", "WINDOWS", "DEDICATED", "SQL", "RESERVATION", "CPU")
        }
        | {"BLOCK": {"t": aws_term("0.0000000000")}},
        "Reserved": {
            "P5": {
                "a": aws_term(
                    "0",
                    "262800",
                    LeaseContractLength="1yr",
                    PurchaseOption="All Upfront",
                    OfferingClass="standard",
                ),
                "b": aws_term(
                    "10",
                    "262800",
                    LeaseContractLength="3yr",
                    PurchaseOption="Partial Upfront",
                    OfferingClass="standard",
                ),
                "c": aws_term(
                    "31", LeaseContractLength="1yr", PurchaseOption="No Upfront", OfferingClass="convertible"
                ),
            }
        },
    },
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_own_csv_adds_and_overrides(write: Write) -> None:
    text = (
        OWN_HEADER
        + "on-prem,,dgx,h100,8,reserved,14.4,3y,2026-10-01\naws,us-east-1,p5.48xlarge,h100,8,on_demand,40,,\n"
    )
    catalog = load([write("mine.csv", text)])
    (dgx,) = catalog.select_offers("h100", "on-prem")
    assert (dgx.usd_per_gpu_hour, dgx.term, dgx.as_of) == (1.8, "3y", "2026-10-01")
    (p5,) = catalog.select_offers("h100", "aws", "us-east-1", PricingModel.ON_DEMAND, 8)
    assert p5.usd_per_hour == 40
    assert "mine.csv" in p5.source
    assert len(p5.as_of) == 10  # the date of the file, since the row names none
    assert load().cheapest("h100", 8, [PricingModel.ON_DEMAND], ["aws"], ["us-east-1"]).usd_per_hour == 55.04


def test_own_toml_adds_hardware_models_and_offers(write: Write) -> None:
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


def test_the_users_own_price_is_believed_however_odd(write: Write) -> None:
    text = OWN_HEADER + "lab,,spare,h100,8,on_demand,0.4,,2026-10-01\n"
    assert load([write("mine.csv", text)]).cheapest("h100", 8, [PricingModel.ON_DEMAND]).provider == "lab"


@pytest.mark.parametrize("price", ["nan", "0", "-3", "inf"])
def test_an_own_price_that_is_no_price_names_file_and_row(write: Write, price: str) -> None:
    text = OWN_HEADER + f"a,,x,h100,8,on_demand,20,,2026-10-01\na,,y,h100,8,on_demand,{price},,2026-10-01\n"
    with pytest.raises(CatalogError, match=r"mine\.csv, row 3: price must be a positive number"):
        load([write("mine.csv", text)])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "when,what\n1,2\n", "has no known form; a catalog file is"),
        ("a.csv", OWN_HEADER, "is empty"),
        ("a.csv", OWN_HEADER + "a,,x,h100,eight,on_demand,20,,\n", r"a\.csv, row 2: .*int.*gpus"),
        ("a.csv", OWN_HEADER + "a,,x,h100,8,rented,20,,\n", r"a\.csv, row 2: .*rented.*pricing_model"),
        ("a.csv", OWN_HEADER + "a,,x,h100,8,on_demand,,,\n", r"a\.csv, row 2: .*usd_per_hour"),
        (
            "a.csv",
            OWN_HEADER + "a,,x,h100-80gb,8,on_demand,20,,\n",
            "unknown hardware 'h100-80gb'; write h100",
        ),
        (
            "a.csv",
            OWN_HEADER + "a,,x,tpu,8,on_demand,20,,\n",
            r"unknown hardware 'tpu'; known: .*\[\[hardware\]\]",
        ),
        ("a.csv", OWN_HEADER + "a,,x,h100,0,on_demand,20,,\n", r"a\.csv, row 2: a machine needs a GPU"),
        ("a.toml", "[[offer]]\nprovider = 3\n", "a.toml"),
        ("a.toml", "[[offers]]\n", "unknown field `offers`"),
        ("a.toml", "not toml", "a.toml"),
        ("a.toml", "", "is empty"),
        ("a.json", '{"hello": 1}', "not an AWS price list"),
        ("a.json", json.dumps(AWS_PRICE_LIST | {"offerCode": "AmazonS3"}), "a price list of AmazonS3"),
        ("a.json", json.dumps(AWS_PRICE_LIST | {"products": {}}), "has no machine with a GPU"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(write: Write, name: str, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message) as error:
        load([write(name, text)])
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv: cannot be read"):
        load([tmp_path / "none.csv"])


def test_skypilot(write: Write) -> None:
    catalog = load([write("primus/vms.csv", SKYPILOT)])
    offers = {(o.instance, str(o.pricing_model)): o for o in catalog.select_offers(provider="primus")}
    assert offers["8x_h100", "on_demand"].usd_per_hour == 24
    assert offers["8x_h100", "spot"].usd_per_hour == 9  # the cheaper zone
    assert offers["1x_h100_pcie", "on_demand"].hardware == "h100-pcie"
    assert ("1x_h100_pcie", "spot") not in offers  # a spot price of zero is none
    assert offers["1x_a100", "on_demand"].hardware == "a100-40gb"
    assert offers["1x_a100_80", "on_demand"].hardware == "a100"
    reasons = {refusal.what: refusal.reason for refusal in catalog.refused}
    assert "without its machine" in reasons["primus 8 x B200 us-east"]
    assert "saves nothing" in reasons["primus 1x_a100_80 us-east (spot)"]
    assert len(offers) == 5


@pytest.mark.parametrize("price", ["nan", "0", "-1", "dear"])
def test_a_skypilot_price_that_is_no_price(write: Write, price: str) -> None:
    text = SKYPILOT + f"9x,H100,8,1,1,,{price},,us-east,\n"
    with pytest.raises(CatalogError, match=r"vms\.csv, row 10: Price must be a positive number"):
        load([write("primus/vms.csv", text)])


def test_aws_price_list(write: Write) -> None:
    catalog = load([write("index.json", json.dumps(AWS_PRICE_LIST))])
    offers = {
        (offer.pricing_model, offer.term, offer.payment): offer
        for offer in catalog.select_offers("h100", "aws", "us-east-1", gpus=8)
        if "index.json" in offer.source
    }
    assert offers[PricingModel.ON_DEMAND, "", ""].usd_per_hour == 50
    assert offers[PricingModel.RESERVED, "1y", "all_upfront"].usd_per_hour == pytest.approx(262_800 / 8760)
    assert offers[PricingModel.RESERVED, "3y", "partial_upfront"].usd_per_hour == pytest.approx(10 + 262_800 / 26_280)
    assert len(offers) == 3
    assert {offer.as_of for offer in offers.values()} == {"2026-11-01"}
    (block,) = (refusal for refusal in catalog.refused if "index.json" in refusal.source)
    assert "capacity block" in block.reason
