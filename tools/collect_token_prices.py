"""Write the catalog's table of token prices that the library genai-prices lacks, from the price list of LiteLLM.

    python tools/collect_token_prices.py model_prices_and_context_window_backup.json VERSION DATE

The list is the file of this name in the wheel of `litellm` (MIT); VERSION and DATE are those of the wheel. Kept are
chat models with a price of input and output: all of DeepInfra, the open models that Vertex AI and Azure serve, and
Bedrock's batch prices. Regional names and prices by region are left out.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

OUT: Final = Path(__file__).parent.parent / "src/meritorder/catalog/data/token_prices.csv"
COLUMNS: Final = (
    "provider", "provider_model", "tier", "input_usd_per_mtok", "cached_usd_per_mtok", "output_usd_per_mtok", "as_of",
    "source",
)  # fmt: skip
TOKENS_PER_MTOK: Final = 1_000_000
OPEN_ON_VERTEX: Final = "vertex_ai-(llama|mistral|deepseek|qwen|minimax|moonshot|zai|openai)_models"


@dataclass(frozen=True, slots=True)
class Seller:
    """A provider: its name here and in LiteLLM, the prefix of its models, the tiers to keep, and its price page."""

    provider: str
    pattern: str
    prefix: str
    tiers: tuple[str, ...]
    page: str


SELLERS: Final = (
    Seller("deepinfra", "deepinfra", "deepinfra/", ("standard", "batch"), "https://deepinfra.com/pricing"),
    Seller(
        "vertex",
        OPEN_ON_VERTEX,
        "vertex_ai/",
        ("standard", "batch"),
        "https://cloud.google.com/vertex-ai/generative-ai/pricing",
    ),
    Seller("azure", "azure_ai", "azure_ai/", ("standard", "batch"), "https://prices.azure.com/api/retail/prices"),
    Seller("aws", "bedrock|bedrock_converse", "", ("batch",), "https://aws.amazon.com/bedrock/pricing/"),
)
# Models that their makers sell themselves are in genai-prices, with their tiers.
NOT_OPEN: Final = re.compile(r"claude|gpt-[0-9]|gemini|codex|router|gpt-chat|grok|^o[1-9]")
REGIONAL: Final = re.compile(r"/|^(us|eu|au|jp|apac|us-gov|global)\.")
SUFFIXES: Final = {"standard": "", "batch": "_batches"}


def collect(prices: Mapping[str, Any], listing: str, as_of: str) -> pl.DataFrame:
    """Return the table of token prices.

    Args:
        prices: LiteLLM's list.
        listing: Its name and version.
        as_of: Its date.
    """
    rows = [row | {"as_of": as_of} for seller in SELLERS for row in _rows(prices, seller, listing)]
    return pl.DataFrame(rows, orient="row").select(COLUMNS).sort("provider", "provider_model", "tier")


def _rows(prices: Mapping[str, Any], seller: Seller, listing: str) -> Iterator[dict[str, Any]]:
    for name, about in prices.items():
        model = name.removeprefix(seller.prefix)
        if (
            about.get("mode") == "chat"
            and re.fullmatch(seller.pattern, about.get("litellm_provider", ""))
            and name.startswith(seller.prefix)
            and not NOT_OPEN.search(model)
            and not (seller.provider == "aws" and REGIONAL.search(model))
        ):
            yield from _tiers(about, seller, model, listing)


def _tiers(about: Mapping[str, Any], seller: Seller, model: str, listing: str) -> Iterator[dict[str, Any]]:
    for tier in seller.tiers:
        suffix = SUFFIXES[tier]
        inputs, outputs = about.get(f"input_cost_per_token{suffix}"), about.get(f"output_cost_per_token{suffix}")
        if not inputs or not outputs:
            continue
        cached = about.get(f"cache_read_input_token_cost{suffix}") or inputs
        page = about.get("source", "").partition("?")[0]
        yield {
            "provider": seller.provider,
            "provider_model": model,
            "tier": tier,
            "input_usd_per_mtok": round(inputs * TOKENS_PER_MTOK, 6),
            "cached_usd_per_mtok": round(cached * TOKENS_PER_MTOK, 6),
            "output_usd_per_mtok": round(outputs * TOKENS_PER_MTOK, 6),
            "source": f"{page or seller.page} in {listing}",
        }


def main() -> None:
    """Write the table."""
    path, version, as_of = sys.argv[1:]
    table = collect(json.loads(Path(path).read_text(encoding="utf-8")), f"LiteLLM {version}", as_of)
    table.write_csv(OUT)
    sys.stdout.write(f"{table.height} token prices in {OUT}\n")


if __name__ == "__main__":
    main()
