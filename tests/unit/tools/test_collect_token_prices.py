"""The script that writes the table of token prices from LiteLLM's list."""

import importlib.util
from pathlib import Path

PROJECT = Path(__file__).parents[3]
CHAT = {"mode": "chat", "input_cost_per_token": 2e-7, "output_cost_per_token": 4e-7}
BATCH = {"input_cost_per_token_batches": 1e-7, "output_cost_per_token_batches": 2e-7}
LISTED = {
    "deepinfra/meta-llama/Llama-3.3-70B-Instruct": CHAT | {"litellm_provider": "deepinfra"},
    "deepinfra/embedding": CHAT | {"litellm_provider": "deepinfra", "mode": "embedding"},
    "deepinfra/free": CHAT | {"litellm_provider": "deepinfra", "output_cost_per_token": 0},
    "meta.llama3-3-70b-instruct-v1:0": CHAT | BATCH | {"litellm_provider": "bedrock_converse"},
    "us.meta.llama3-3-70b-instruct-v1:0": CHAT | BATCH | {"litellm_provider": "bedrock_converse"},
    "azure_ai/claude-opus-5": CHAT | {"litellm_provider": "azure_ai"},
    "vertex_ai/qwen/qwen3-maas": CHAT
    | BATCH
    | {"litellm_provider": "vertex_ai-qwen_models", "source": "https://g.co/x?y"},
    "openai/gpt-4": CHAT | {"litellm_provider": "openai"},
}


def test_missing_providers_and_batch_prices_are_kept() -> None:
    spec = importlib.util.spec_from_file_location("collect_token_prices", PROJECT / "tools/collect_token_prices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = module.collect(LISTED, "LiteLLM 1", "2026-11-20")
    assert table.select("provider", "provider_model", "tier", "input_usd_per_mtok").rows() == [
        ("aws", "meta.llama3-3-70b-instruct-v1:0", "batch", 0.1),
        ("deepinfra", "meta-llama/Llama-3.3-70B-Instruct", "standard", 0.2),
        ("vertex", "qwen/qwen3-maas", "batch", 0.1),
        ("vertex", "qwen/qwen3-maas", "standard", 0.2),
    ]
    assert table["source"].to_list()[-1] == "https://g.co/x in LiteLLM 1"
