"""The tools for assistants, called by the protocol's own client over standard input and output."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from openai import OpenAI
from tests.e2e.gateway.conftest import environment, new_key

TRACE = "arrived_at,input_tokens,output_tokens\n" + "".join(
    f"2026-01-05T00:{minute:02}:00Z,{900 + minute},{200 - minute}\n" for minute in range(60)
)


@pytest.mark.slow
def test_tools_answer_and_write_nothing(gateway: str, config: Path, client: OpenAI, tmp_path: Path) -> None:
    client.completions.create(model="stub", prompt="x", max_tokens=2)
    sdk = pytest.importorskip("mcp", reason="no MCP: pip install 'meritorder[mcp]'")
    (tmp_path / "trace.csv").write_text(TRACE, encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("Hello\nGood day\n", encoding="utf-8")
    options = ["--folder", str(tmp_path), "--gateway", gateway, "--config", str(config)]
    server = sdk.StdioServerParameters(
        command=sys.executable,
        args=["-m", "meritorder", "mcp", *options],
        env=environment() | {"OPENAI_API_KEY": new_key(config)},
    )

    async def talk() -> None:
        async with sdk.Client(server) as session:

            async def call(tool: str, **arguments: object) -> tuple[bool, str]:
                answer = await session.call_tool(tool, arguments)
                return bool(answer.is_error), answer.content[0].text

            tools = {tool.name: tool.annotations for tool in (await session.list_tools()).tools}
            assert {name for name, hints in tools.items() if hints.read_only_hint} == {
                "compare",
                "estimate",
                "audit",
                "ledger",
            }
            assert tools.keys() - {"quote"} == {"compare", "estimate", "audit", "ledger"}
            failed, text = await call("compare", trace="trace.csv", model="llama-3.1-8b", as_json=True)
            assert not failed, text
            assert json.loads(text)["trace"]["requests"] == 60
            failed, text = await call("quote", requests="prompts.txt", model="stub")
            assert not failed, text
            failed, text = await call("ledger", by="tenant")
            assert not failed, text
            for trace, reason in (
                ("../secret.csv", "outside"),
                ("--html=x.html", "not in"),
                ("/etc/passwd", "outside"),
            ):
                failed, text = await call("compare", trace=trace)
                assert failed
                assert reason in text
            failed, text = await call("compare", trace="trace.csv", model="--no-such-model")
            assert failed
            assert "--no-such-model" in text

    asyncio.run(talk())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts.txt", "trace.csv"]
