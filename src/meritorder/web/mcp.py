"""Tools for assistants, by the Model Context Protocol: each runs a command that buys and starts nothing."""

import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

_LONGEST_S: Final = 1800.0
_INSTRUCTIONS: Final = (
    "Meritorder prices LLM traffic: in real time, in batch, and as a mix with what can wait. Amounts are US dollars. "
    "Answers state what they assume; repeat the assumptions with the numbers. Nothing is bought or started."
)

_AsJson = Annotated[bool, Field(description="Answer with all figures as JSON instead of the report as text.")]
_Model = Annotated[str, Field(description="Model, such as llama-3.1-70b; empty: the only one that the file names.")]
_Hardware = Annotated[str, Field(description="GPUs to choose from, separated by commas, such as h100,h200.")]
_Slo = Annotated[str, Field(description="Real-time promise, such as ttft=2s,tpot=100ms,attainment=99%.")]
_CanWait = Annotated[str, Field(description="Share of the requests that can wait, and how long, such as 40%@4h.")]
_Groups = Annotated[str, Field(description="Groups, separated by commas: hour, day, month, tenant, team, workload.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The tools; an assistant reads their docstrings.

    Args:
        folder: Files in it may be read, no others.
        gateway: URL of the gateway that quotes; empty without one.
        config: Configuration of the gateway whose ledger is shown; None without one.
    """

    folder: Path
    gateway: str = ""
    config: Path | None = None

    async def compare(
        self,
        trace: Annotated[str, Field(description="File with arrival, input and output tokens of each request.")],
        *,
        model: _Model = "",
        hardware: _Hardware = "h100",
        can_wait: _CanWait = "",
        slo: _Slo = "",
        as_json: _AsJson = False,
    ) -> str:
        """Say what the requests of a log cost in real time, in batch and as a mix, and why they differ."""
        options = {"model": model, "hardware": hardware, "defer": can_wait, "slo": slo}
        return await self._run("compare", options, self._file(trace), as_json=as_json)

    async def estimate(
        self,
        *,
        model: Annotated[str, Field(description="Model, such as llama-3.1-70b.")],
        requests_per_day: float,
        input_tokens: Annotated[float, Field(description="Mean length of a prompt.")],
        output_tokens: Annotated[float, Field(description="Mean length of an answer.")],
        hardware: _Hardware = "",
        can_wait: _CanWait = "",
        slo: _Slo = "",
        as_json: _AsJson = False,
    ) -> str:
        """Estimate the monthly cost of traffic that is known by a few numbers, without a log."""
        options = {
            "model": model,
            "requests-per-day": f"{requests_per_day:g}",
            "input": f"{input_tokens:g}",
            "output": f"{output_tokens:g}",
            "hardware": hardware,
            "can-wait": can_wait,
            "slo": slo,
        }
        return await self._run("estimate", options, as_json=as_json)

    async def audit(
        self,
        bill: Annotated[str, Field(description="Bill: FOCUS, AWS, Azure, GCP, OpenAI and others; CSV or Parquet.")],
        trace: Annotated[str, Field(description="Requests that its machines served; empty if not known.")] = "",
        *,
        as_json: _AsJson = False,
    ) -> str:
        """Find what is overpaid for inference in a cloud bill, in dollars a month, with evidence."""
        options = {"trace": self._file(trace) if trace else ""}
        return await self._run("audit", options, self._file(bill), as_json=as_json)

    async def ledger(
        self,
        file: Annotated[str, Field(description="Exported ledger; empty: that of the gateway.")] = "",
        by: _Groups = "day",
        since: Annotated[str, Field(description="Start, such as 7d or 2026-11-01; empty: all.")] = "",
        *,
        as_json: _AsJson = False,
    ) -> str:
        """Show what was paid for requests that the gateway served, by day, tenant or another group."""
        options = {"by": by, "from": since}
        if file:
            return await self._run("ledger", options, self._file(file), as_json=as_json)
        if self.config is None:
            raise ToolError("no ledger: name a file, or start `meritorder mcp` with --config gateway.toml")
        return await self._run("ledger", options | {"config": str(self.config)}, as_json=as_json)

    async def quote(
        self,
        requests: Annotated[str, Field(description="Requests as the Batch API takes them, or prompts, one a line.")],
        model: Annotated[str, Field(description="Model of prompts; empty: the gateway's only one.")] = "",
        *,
        as_json: _AsJson = False,
    ) -> str:
        """Upload requests to the gateway, and say what a batch of them costs and when it ends; nothing runs."""
        if not self.gateway:
            raise ToolError("no gateway: start `meritorder mcp` with --gateway URL")
        options = {"model": model, "url": self.gateway}
        return await self._run("batch", options, "quote", self._file(requests), as_json=as_json)

    def _file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise ToolError(f"{name}: outside {folder}; start `meritorder mcp` with --folder to read files elsewhere")
        if not path.exists():
            raise ToolError(f"{name}: not in {folder}")
        return str(path)

    async def _run(self, command: str, options: dict[str, str], *arguments: str, as_json: bool) -> str:
        """Return what a command prints, or writes as JSON.

        Raises:
            ToolError: It refuses its input; its line says why.
        """
        given = [f"--{name}={value}" for name, value in options.items() if value]
        with tempfile.TemporaryDirectory(prefix="meritorder-mcp-") as scratch:
            answer = Path(scratch, "answer.json")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "meritorder", command, f"--json={answer}", *given, "--", *arguments),
                cwd=scratch,
                env={**os.environ, "COLUMNS": "120"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(_LONGEST_S):
                    text, errors = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
            if process.returncode:
                lines = errors.decode(errors="replace").strip().splitlines() or ["it failed"]
                raise ToolError(lines[-1])
            return answer.read_text(encoding="utf-8") if as_json else text.decode(errors="replace")


def build(tools: Tools) -> MCPServer:
    """Return the server of the tools."""
    server = MCPServer("meritorder", instructions=_INSTRUCTIONS, version=version("meritorder"))
    reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    # A quote and the file that it is for are kept by the gateway until they expire.
    quotes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    for tool in (tools.compare, tools.estimate, tools.audit, tools.ledger):
        server.add_tool(tool, annotations=reads)
    server.add_tool(tools.quote, annotations=quotes)
    return server
