"""Options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated, Final

import typer

from meritorder.domain import Attention

SLO_TEXT: Final = "ttft=2s,tpot=100ms,attainment=99%"

# Input.
Traces = Annotated[
    list[str],
    typer.Argument(metavar="TRACE...", help="Files, quoted globs, URLs (https, s3, gs, az), or - for standard input."),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Format of the input; detected if left out.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="FIELD=COLUMN,…", help="Names of your columns: arrival=ts,input=prompt,output=answer."
    ),
]
Aggregate = Annotated[
    bool,
    typer.Option("--aggregate", help="Spread rows that sum up several requests over their interval (assumed)."),
]
Scale = Annotated[float, typer.Option("--scale", metavar="N", help="Multiply the request rate by seeded copies.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Start of a window: 2h or 1d after the first request, or ISO 8601."),
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End of the window, in the same formats.")]
Spread = Annotated[
    str,
    typer.Option(
        "--spread", metavar="TIME", help="If the trace has no arrival times, spread its requests over this time."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on an invalid row instead of counting and skipping it.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of random draws, such as those of --defer and --scale.")]

# What the requests need.
Model = Annotated[
    str,
    typer.Option("--model", metavar="NAME", help="Model to serve; if left out, the only one that the trace names."),
]
Defer = Annotated[
    list[str] | None,
    typer.Option(
        "--defer",
        metavar="SHARE@DEADLINE",
        help="Assume that a share of the requests can wait, such as 40%@4h (repeatable).",
    ),
]
Workloads = Annotated[
    Path | None,
    typer.Option(
        "--workloads", metavar="FILE", help="SLO or deadline of each workload (TOML; see docs/reference/traces.md)."
    ),
]
SloText = Annotated[
    str,
    typer.Option(
        "--slo", metavar="SLO", help=f"Real-time SLO for workloads that have none of their own.  [default: {SLO_TEXT}]"
    ),
]
BatchDeadline = Annotated[
    str,
    typer.Option(
        "--batch-deadline",
        metavar="TIME",
        help="In the batch arrangement, how long a request without a deadline can wait.",
    ),
]

# Capacity.
Hardware = Annotated[
    str, typer.Option("--hardware", metavar="GPU,…", help="GPUs to choose from; the cheapest one is used.")
]
Provider = Annotated[str, typer.Option("--provider", metavar="NAME,…", help="Providers to rent from; all if left out.")]
Region = Annotated[str, typer.Option("--region", metavar="NAME,…", help="Regions to rent in; all if left out.")]
Replicas = Annotated[
    int | None,
    typer.Option("--replicas", min=1, help="Replicas of your current real-time fleet; savings are relative to it."),
]
Spot = Annotated[bool, typer.Option("--spot", help="Run deferrable work on spot machines where they are cheaper.")]
SpotTrace = Annotated[
    Path | None,
    typer.Option(
        "--spot-trace", metavar="FILE", help="Use spot machines, limited to this record (see docs/simulator.md)."
    ),
]
Serverless = Annotated[
    bool,
    typer.Option("--serverless", help="Also simulate serverless GPUs, which scale to zero and start cold."),
]
ColdStart = Annotated[
    str,
    typer.Option(
        "--cold-start",
        metavar="TIME",
        help="Time until a serverless worker serves; if left out, --startup without finding a machine.",
    ),
]
KeepWarm = Annotated[
    str,
    typer.Option(
        "--keep-warm", metavar="TIME", help="Time that an idle serverless worker stays up; its provider's if left out."
    ),
]
CatalogFiles = Annotated[
    list[Path] | None,
    typer.Option("--catalog", metavar="FILE", help="Prices, hardware and models to add or override (repeatable)."),
]
Rates = Annotated[
    list[str] | None,
    typer.Option(
        "--rate",
        metavar="CURRENCY=USD",
        help="Dollars for one unit of a currency in prices or bills: EUR=1.08 (repeatable).",
    ),
]

# How fast a replica is.
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME[@VERSION]",
        help="Inference engine: vllm, sglang or trtllm, and the version that you run, such as vllm@0.10.2.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="Precision of the weights: bf16, fp8, mxfp4, nvfp4 or int4; the model's own if left out.",
    ),
]
AllowPrecision = Annotated[
    str,
    typer.Option(
        "--allow-precision",
        metavar="NAMES",
        help="Precisions that the weights may have as well, such as fp8,nvfp4: cheaper, at a loss of quality that is "
        "yours to judge.",
    ),
]
GpusPerReplica = Annotated[
    int | None,
    typer.Option(
        "--tp", min=1, metavar="GPUS", help="GPUs per replica; if left out, the cheapest number that meets the SLO."
    ),
]
AttentionSplit = Annotated[
    Attention,
    typer.Option(
        "--attention",
        help="How attention of a mixture of experts is split over the GPUs of a replica: tp for tensor parallelism, dp "
        "for data-parallel attention with expert parallelism, any for the cheapest.",
    ),
]
MaxNumSeqs = Annotated[
    int | None,
    typer.Option(
        "--max-num-seqs",
        min=1,
        max=1024,
        metavar="N",
        help="Sequences in a step; the engine's default if left out.",
    ),
]
MaxNumBatchedTokens = Annotated[
    int | None,
    typer.Option(
        "--max-num-batched-tokens",
        min=2,
        max=32_768,
        metavar="N",
        help="Tokens in a step; the engine's default if left out.",
    ),
]
MemoryUtilization = Annotated[
    float | None,
    typer.Option(
        "--memory-utilization",
        metavar="SHARE",
        help="vLLM's gpu_memory_utilization, SGLang's mem_fraction_static or TensorRT-LLM's "
        "free_gpu_memory_fraction; the engine's default if left out.",
    ),
]
KvCacheDtype = Annotated[
    str | None,
    typer.Option(
        "--kv-cache-dtype",
        metavar="NAME",
        help="Precision of the KV cache: bf16 or fp8; the engine's default if left out.",
    ),
]
StartupTime = Annotated[
    str, typer.Option("--startup", metavar="TIME", help="Time from renting a machine until it serves.")
]
ProfileFile = Annotated[
    Path | None,
    typer.Option("--profile", metavar="FILE", help="Performance profile of your own endpoint (TOML or JSON)."),
]
Roofline = Annotated[
    bool, typer.Option("--roofline", help="Estimate step times from data sheets where no measurement exists.")
]

# Output.
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the answer as JSON.")]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write the report with figures, as one file that works offline."),
]

# The gateway.
ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="Configuration of the gateway (TOML).")]
OptionalConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration of the gateway (TOML).")
]
ApiKeyVariable = Annotated[
    str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable that holds the API key.")
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")]
PromptColumn = Annotated[str, typer.Option("--prompt", metavar="COLUMN", help="Column of the prompts.")]
