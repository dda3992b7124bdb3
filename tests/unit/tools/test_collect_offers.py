"""The script that writes the table of offers from collected prices."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

PROJECT = Path(__file__).parents[3]
COLLECTED = PROJECT.parent / "shared/data/prices"
TABLE = PROJECT / "src/meritorder/catalog/data/offers.csv"

# Providers of the rows beside the script.
BY_HAND = ["azure", "baseten", "cloud-run", "crusoe", "hyperstack", "modal", "oci", "runpod", "together"]

Collector = Callable[[Path], pl.DataFrame]

PRICES = """\
provider,region,instance,gpu,gpu_count,pricing_model,term,payment,usd_per_hour,as_of,source,licence,confidence
aws,us-east-1,p5.48xlarge,NVIDIA H100,8,on_demand,,,60,2025-11-30,tsaol/aws-gpu,MIT,medium
aws,us-east-1,p5.48xlarge,H100 80GB,8,on_demand,,,55.04,2026-02-09,karpenter-provider-aws,Apache-2.0,high
aws,us-east-1,p5.48xlarge,H100 80GB,8,on_demand_history,,,98.32,2024-02-05,AmazonEC2 version 20260728175247,facts,high
aws,us-east-1,g6.16xlarge,NVIDIA L4,1,on_demand,,,3.4,2025-11-30,tsaol/aws-gpu,MIT,medium
aws,us-east-1,g4dn.xlarge,T4,1,on_demand,,,0.526,2026-02-09,karpenter-provider-aws,Apache-2.0,high
aws,mx-central-1,p5.48xlarge,NVIDIA H100,8,on_demand,,,60,2025-11-30,tsaol/aws-gpu,MIT,medium
aws,most regions,p5.48xlarge,H100 80GB,8,capacity_block,1-182d,all_upfront,39.33,2024-12,same mirror,facts,low
gcp,us-central1,accelerator:H100,H100,8,on_demand_gpu_component,,,33.6,unknown(2025-26),skypilot,Apache-2.0,ANOMALY
gcp,,"a3-highgpu-1g Spot, us-central1",H100-80GB,1,spot,,,6.571,2026-09-26,<- https://cloud.google.com,CC-BY-4.0,high
gcp,,"a3-highgpu-1g, us-central1",H100-80GB,1,on_demand,,,10.98,2026-09-26,<- https://cloud.google.com,CC-BY-4.0,high
together,,average listed offer,H100,1,on_demand,,,3.99,2026-10-24,renshuBTC,unstated,medium
nebius,,HGX H200,H200-141GB,1,on_demand,,,4.5,2026-09-25,<- https://nebius.com,CC-BY-4.0,high
"""
ADVICE = """\
region,instance,savings_pct_vs_on_demand,interruption_bucket,interruption_label_per_month,as_of,source
us-east-1,p5.48xlarge,52,4,>20%,2025-06-28,alexei-led/spotinfo
us-east-1,p4de.24xlarge,65,0,<5%,2025-06-28,alexei-led/spotinfo
"""


@pytest.fixture(scope="module")
def collect() -> Collector:
    spec = importlib.util.spec_from_file_location("collect_offers", PROJECT / "tools/collect_offers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    collector: Collector = module.collect
    return collector


@pytest.fixture
def offers(collect: Collector, tmp_path: Path) -> pl.DataFrame:
    (tmp_path / "gpu_instance_prices.csv").write_text(PRICES)
    (tmp_path / "aws_spot_advisor_gpu.csv").write_text(ADVICE)
    return collect(tmp_path)


def test_what_is_kept(offers: pl.DataFrame) -> None:
    key = pl.concat_str("provider", "instance", "pricing_model", separator=" ")
    assert set(offers.filter(~pl.col("provider").is_in(BY_HAND)).select(key).to_series()) == {
        "aws p5.48xlarge on_demand",
        "aws p5.48xlarge capacity_block",
        "aws p5.48xlarge spot",
        "gcp a3-highgpu-1g spot",
        "nebius HGX H200 on_demand",
        "nebius HGX H100 on_demand",
    }


def test_newest_price_gives_the_spot_price(offers: pl.DataFrame) -> None:
    p5 = offers.filter((pl.col("instance") == "p5.48xlarge") & (pl.col("region") == "us-east-1"))
    prices = dict(zip(p5["pricing_model"], p5["usd_per_hour"], strict=True))
    assert prices == {"on_demand": 55.04, "spot": pytest.approx(55.04 * 0.48)}
    assert p5["interruptions_per_month"].to_list() == [None, 0.25]


def test_machines_sold_by_gpu_are_one_offer(offers: pl.DataFrame) -> None:
    hgx = offers.filter((pl.col("provider") == "nebius") & (pl.col("instance") == "HGX H200"))
    assert hgx.select("gpus", "sizes").rows() == [(1, "1/8")]


def test_later_row_by_hand_replaces_collected_one(offers: pl.DataFrame) -> None:
    """The folder has 4.5 of 2026-09-25, the rows beside the script 5.4 of 2026-10-24."""
    assert offers.filter(pl.col("instance") == "HGX H200")["usd_per_hour"].to_list() == [5.4]


def test_region_is_read_from_machine_name(offers: pl.DataFrame) -> None:
    assert offers.filter(pl.col("provider") == "gcp")["region"].to_list() == ["us-central1"]


@pytest.mark.skipif(not COLLECTED.exists(), reason=f"{COLLECTED} is not here")
def test_offers_table_is_what_script_writes(collect: Collector) -> None:
    assert collect(COLLECTED).write_csv() == TABLE.read_text()
