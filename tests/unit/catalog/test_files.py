"""Files of `--catalog`: detected by content, adding or overriding; one line for a wrong one."""

import json
from pathlib import Path

import pytest
from tests.samples.catalog_files import AWS_PRICE_LIST, Write

from meritorder.catalog import load
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError

OWN_HEADER = "provider,region,instance,hardware,gpus,pricing_model,usd_per_hour,term,as_of\n"


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


def test_own_prices_are_never_rejected(write: Write) -> None:
    text = OWN_HEADER + "lab,,spare,h100,8,on_demand,0.4,,2026-10-01\n"
    assert load([write("mine.csv", text)]).cheapest("h100", 8, [PricingModel.ON_DEMAND]).provider == "lab"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "when,what\n1,2\n", "has no known form; a catalog file is"),
        ("a.csv", OWN_HEADER, "is empty"),
        ("a.csv", OWN_HEADER + "a,,x,h100,eight,on_demand,20,,\n", r"a\.csv, row 2: gpus must be a whole number"),
        ("a.csv", OWN_HEADER + "a,,x,h100,8,rented,20,,\n", r"a\.csv, row 2: .*rented.*pricing_model"),
        ("a.csv", OWN_HEADER + "a,,x,h100,8,on_demand,,,\n", r"a\.csv, row 2: .*usd_per_hour"),
        (
            "a.csv",
            OWN_HEADER + "a,,x,tpu,8,on_demand,20,,\n",
            r"unknown hardware 'tpu'; known: .*\[\[hardware\]\]",
        ),
        ("a.csv", OWN_HEADER + "a,,x,h100,0,on_demand,20,,\n", r"a\.csv, row 2: a machine needs at least one GPU"),
        ("a.toml", "[[offer]]\nprovider = 3\n", "a.toml"),
        ("a.toml", "[[offers]]\n", "unknown field `offers`"),
        ("a.toml", "not toml", "a.toml"),
        ("a.toml", "", "is empty"),
        ("a.json", '{"hello": 1}', "not an AWS price list"),
        ("a.json", json.dumps(AWS_PRICE_LIST | {"offerCode": "AmazonS3"}), "a price list of AmazonS3"),
        ("a.json", json.dumps(AWS_PRICE_LIST | {"products": {}}), "has no machine with a GPU"),
    ],
)
def test_wrong_file_gets_one_line(write: Write, name: str, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message) as error:
        load([write(name, text)])
    assert "\n" not in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv: cannot be read"):
        load([tmp_path / "none.csv"])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "a.csv",
            "provider,instance,hardware,gpus,pricing_model,usd_per_hour\na,b,h100,8,on_demand,2,3\n",
            "row 2: has more",
        ),
        ("a.csv", "provider,instance,hardware,gpus,pricing_model,usd_per_hour\na," + "b" * 200_000, "field larger"),
        ("a.toml", "hardware = " + "[" * 5_000, "recursion"),
        ("a.json", '{"a":' * 100_000, "recursion"),
        ("aws.csv", "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\np5,H100,x,1,1,us\n", "'x'"),
    ],
)
def test_odd_files_are_refused_in_one_line(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogError, match=reason) as caught:
        load([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"is a folder; name the file in it"):
        load([tmp_path])
