"""Mutated files of every reader: how many are read, how many are refused in one line, and that none ends otherwise."""

import contextlib
import gzip
import io
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from backports import zstd

from bench._process import DATA
from meritorder import cli

FILES: Final = 5_000
_CASES: Final = DATA.parent / "cases"
_REFUSED: Final = 2
_MAX_SEED_BYTES: Final = 1 << 16
GOOD: Final = ("read", "refused")
_TOKENS: Final = (
    *(b"nan", b"NaN", b"-1", b"0", b"1e400", b"1.793E+12", b"99999999999999999999", b"1,000", b"1.000,5", b"null"),
    *(b"9999-12-31T00:00:00Z", b"11/2/2026 9:00 AM", b"0001-01-01", b"", b'"', b"'", b"\\", b"\0", b"\xff\xfe", b"\r"),
    *(b"\n", b",", b";", b"\t", b"=", b"#", b"[[", b"{}", b"[]", b"[" * 5_000, b'{"a":' * 5_000, b"true", b"\xc3\x28"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A command that reads a file.

    Args:
        arguments: Arguments of the command; `{file}` stands for the file, `{folder}` for a folder with other inputs.
        seeds: Files that it reads.
        suffix: End of the file's name.
        share: How often it is chosen, in relation to the others.
    """

    arguments: str
    seeds: tuple[bytes, ...]
    suffix: str = ""
    share: int = 2


def readers(folder: Path, names: Collection[str] = ()) -> dict[str, Reader]:
    """Return the named readers or all, and write what their commands need beside the mutated file into a folder."""
    (folder / "requests.csv").write_bytes(TRACE)
    (folder / "bill.csv").write_bytes(BILL)
    needed = f"{folder}/requests.csv --model llama-3.1-8b --hardware h100"
    (folder / "log.csv").write_bytes(TIMED)
    calibrate = f"--model llama-3.1-8b --hardware h100 --tp 1 --out {folder}/profile.toml"
    compare = f"compare {needed}"

    def output(name: str, reader: str, command: str) -> bytes:
        if names and reader not in names:
            return b""
        outcome(command.split())
        return (folder / name).read_bytes()

    plan = output("plan.json", "plan", f"plan {needed} --json {folder}/plan.json")
    profile = output("profile.toml", "profile", f"calibrate {folder}/log.csv {calibrate}")
    every = {
        "trace": Reader(arguments="inspect {file}", seeds=(*TRACES, *_cases(bills=False)), share=20),
        "job": Reader(arguments="estimate {file} --model gpt-4.1-mini --by 24h", seeds=(PROMPTS, TRACE)),
        "bill": Reader(arguments="audit {file}", seeds=(BILL, *BILLS, *_cases(bills=True)), share=10),
        "metrics": Reader(arguments=f"audit {folder}/bill.csv --metrics {{file}}", seeds=METRICS),
        "catalog": Reader(arguments="prices --catalog {file} --limit 3", seeds=CATALOGS, suffix=".csv"),
        "catalog.toml": Reader(arguments="prices --catalog {file} --limit 3", seeds=(CATALOG_TOML,), suffix=".toml"),
        "workloads": Reader(arguments=f"{compare} --workloads {{file}}", seeds=(WORKLOADS,)),
        "spot": Reader(arguments=f"{compare} --spot-trace {{file}}", seeds=SPOT),
        "profile": Reader(arguments=f"{compare} --profile {{file}}", seeds=(profile,), suffix=".toml"),
        "holdings": Reader(arguments=f"plan {needed} --have {{file}}", seeds=(HOLDINGS,), share=1),
        "carbon": Reader(arguments=f"plan {needed} --carbon {{file}} --carbon-price 80", seeds=(CARBON,), share=1),
        "plan": Reader(arguments=f"simulate --plan {{file}} {folder}/requests.csv", seeds=(plan,)),
        "timed": Reader(arguments=f"calibrate {{file}} {calibrate}", seeds=(TIMED,), share=1),
        "config": Reader(arguments="keys list --config {file}", seeds=(CONFIG,)),
    }
    return {name: reader for name, reader in every.items() if not names or name in names}


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return a file with a few random changes."""
    text = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at = draw.randrange(len(text) + 1)
        end = min(len(text), at + draw.choice((1, 2, 8, 64)))
        change = draw.randrange(8)
        if change == 0 and text:
            text[at % len(text)] ^= 1 << draw.randrange(8)
        elif change == 1:
            del text[at:end]
        elif change == 2:
            text[at:at] = draw.choice(_TOKENS)
        elif change == 3:
            text[at:end] = draw.choice(_TOKENS)
        elif change == 4:
            _replace_field(text, draw)
        elif change == 5:
            text[at:at] = text[at:end] * draw.choice((1, 3, 50))
        elif change == 6:
            del text[at:]
        else:
            lines = bytes(text).split(b"\n")
            draw.shuffle(lines)
            text = bytearray(b"\n".join(lines))
    changed = bytes(text)
    packing = draw.randrange(40)
    if packing == 0:
        return zstd.compress(changed)
    return gzip.compress(changed)[: len(changed) // packing] if packing in {1, 2, 3} else changed


def outcome(arguments: Sequence[str]) -> tuple[int | None, str]:
    """Run a command in this process; return its exit code, None with a traceback, and its standard error."""
    errors = io.StringIO()
    before = sys.argv
    sys.argv = ["meritorder", *arguments]
    try:
        with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(errors):
            cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0, errors.getvalue()
    except BaseException:  # noqa: BLE001  (what must not happen)
        return None, traceback.format_exc()
    finally:
        sys.argv = before
    return 0, errors.getvalue()


def verdicts(files: int, *, names: Collection[str] = (), seed: int = 0) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield reader, verdict, content and standard error for each mutated file.

    Args:
        files: Number of files.
        names: Readers to try; all if there are none.
        seed: Seed of the mutations.
    """
    draw = random.Random(seed)  # noqa: S311  (no secret)
    # Commands may write where a mutated file tells them to.
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        chosen = readers(folder, names)
        shares = [reader.share for reader in chosen.values()]
        for number, (reader_name, reader) in enumerate(draw.choices(list(chosen.items()), shares, k=files)):
            content = mutated(draw.choice(reader.seeds), draw)
            path = folder / f"{number}{reader.suffix}"
            path.write_bytes(content)
            code, text = outcome(reader.arguments.replace("{file}", str(path)).split())
            path.unlink()
            yield reader_name, _verdict(code, text), content, text


def _verdict(code: int | None, text: str) -> str:
    if code is None:
        return "traceback"
    if code == _REFUSED:
        return "refused" if text.count("\n") == 1 else "refused in several lines"
    return "read" if code == 0 else f"exit code {code}"


def run(files: int = FILES) -> dict[str, Any]:
    """Read the mutated files; print each that ends badly."""
    counts: dict[str, dict[str, int]] = {}
    started_s = time.perf_counter()
    for name, verdict, content, text in verdicts(files):
        of_reader = counts.setdefault(name, {})
        of_reader[verdict] = of_reader.get(verdict, 0) + 1
        if verdict not in GOOD:
            print(f"{name}: {verdict}\n{content[:400]!r}\n{text[-1500:]}")
    bad = sum(count for of_reader in counts.values() for verdict, count in of_reader.items() if verdict not in GOOD)
    return {"files": files, "bad": bad, "seconds": time.perf_counter() - started_s, **counts}


def _replace_field(text: bytearray, draw: random.Random) -> None:
    """Replace the content of a field of a CSV, a value of JSON or of TOML."""
    marks = [place for place, byte in enumerate(text) if byte in b",;:=\n"]
    if len(marks) > 1:
        first = draw.randrange(len(marks) - 1)
        text[marks[first] + 1 : marks[first + 1]] = draw.choice(_TOKENS)


def _cases(*, bills: bool) -> tuple[bytes, ...]:
    """Return the smaller traces or bills of the shared folder."""
    first = ("azure", "focus", "cur", "openai_usage", "opencost", "gcp", "openrouter")
    files = [path for path in sorted(_CASES.glob("*.*")) if path.suffix in {".csv", ".json", ".jsonl", ".parquet"}]
    chosen = [path for path in files if path.name.startswith(first) == bills]
    return tuple(path.read_bytes() for path in chosen if path.stat().st_size < _MAX_SEED_BYTES)


def _csv(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def _traces() -> Iterator[bytes]:
    """Yield the same requests in every container."""
    table = pl.read_csv(io.BytesIO(TRACE), infer_schema=False)
    parquet = io.BytesIO()
    table.write_parquet(parquet)
    records = table.to_dicts()
    yield from (TRACE, TRACE.replace(b",", b";"), TRACE.decode().encode("utf-16"), parquet.getvalue())
    yield "".join(json.dumps(record) + "\n" for record in records).encode()
    yield json.dumps(records, indent=2).encode()
    yield json.dumps({"data": records}).encode()


TRACE: Final = _csv(
    "timestamp,input_tokens,output_tokens,tenant",
    "2026-11-02T09:00:00Z,900,90,a",
    "2026-11-02T09:01:00Z,800,80,b",
)
PROMPTS: Final = _csv('{"id": 1, "prompt": "a short question"}', '{"id": 2, "prompt": "another"}')
TRACES: Final = (
    *_traces(),
    _csv("Usage report,,", "", "timestamp,prompt_tokens,completion_tokens", "46328.375,900,90", "46328.385,800,80"),
    _csv(
        "Time,Processed Prompt Tokens (Sum),Generated Tokens (Sum),Azure OpenAI Requests (Sum)",
        "11/02/2026 9:00 AM,900,90,3",
        "11/02/2026 9:01 AM,800,80,2",
    ),
    _csv(
        '{"MetricDataResults": [{"Label": "InputTokenCount", "Timestamps": ["2026-11-02T09:00:00Z"], "Values": [900]},'
        ' {"Label": "OutputTokenCount", "Timestamps": ["2026-11-02T09:00:00Z"], "Values": [90]}]}'
    ),
    _csv('{"created_at": "2026-11-02T09:00:00Z", "model": "m", "prompt_eval_count": 9, "eval_count": 5, "done": true}'),
    _csv('{"success": true, "result": [{"created_at": "2026-11-02T09:00:00Z", "tokens_in": 9, "tokens_out": 5}]}'),
    _csv(
        "timestamp,input_tokens,output_tokens,cached_tokens",
        '11/2/2026 9:00 AM,"1,200",7,nan',
        "11/13/2026 9:00 AM,900,8,3",
    ),
    _csv('{"timestamp": 5, "input_length": 900, "output_length": 9, "hash_ids": [1, 2]}'),
    _csv('{"custom_id": "a", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "x"}]}}'),
    _csv('{"startTime": "2026-11-02T09:00:00Z", "prompt_tokens": 9, "completion_tokens": 5, "request_id": "a"}'),
    _csv('{"start_times": [0.5, 2], "input_lens": [8, 9], "output_lens": [4, 5]}'),
    _csv(
        '{"ts": "2026-11-02T09:00:00Z", "usage": {"prompt_tokens": 9, "completion_tokens": 5}}',
        '{"ts": "2026-11-02T09:01Z", "usage": {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 3}}',
    ),
    _csv(
        '{"id": "a", "started_at": "2026-11-02T09:00:00Z", "op_name": "chat",'
        ' "summary": {"usage": {"m": {"prompt_tokens": 9, "completion_tokens": 5}}}}'
    ),
    _csv(
        '{"value": [{"name": {"value": "ProcessedPromptTokens"}, "timeseries": [{"data": [{"timeStamp":'
        ' "2026-11-02T09:00:00Z", "total": 9}]}]}, {"name": {"value": "GeneratedTokens"}, "timeseries": [{"data":'
        ' [{"timeStamp": "2026-11-02T09:00:00Z", "total": 5}]}]}]}'
    ),
    _csv(
        "Fecha y hora;Tokens de entrada;Tokens de salida", "02/11/2026 09:00:00;1.000;50", "02/11/2026 09:01:00;900;40"
    ),
)
BILL: Final = _csv(
    "BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,BilledCost,"
    "EffectiveCost,ListCost,ConsumedQuantity,ConsumedUnit,PricingCategory,ProviderName,ServiceName,RegionId,ResourceId,"
    "x_InstanceType",
    *(
        f"USD,2026-10-01T00:00:00Z,2026-11-01T00:00:00Z,2026-10-0{day}T00:00:00Z,2026-10-0{day + 1}T00:00:00Z,Usage,"
        "2359.68,2359.68,2359.68,24,Hours,Standard,AWS,Amazon EC2,us-east-1,i-1,p5.48xlarge"
        for day in (1, 2, 3)
    ),
)
BILLS: Final = (
    _csv(
        "line_item_unblended_cost,line_item_line_item_type,line_item_usage_start_date,line_item_usage_type,"
        "line_item_usage_amount,product_instance_type",
        "55.04,Usage,2026-10-01T00:00:00Z,USE1-BoxUsage:p5.48xlarge,1,p5.48xlarge",
    ),
    _csv(
        '{"object": "page", "data": [{"object": "bucket", "start_time": 1790812800, "end_time": 1790899200, "results":'
        ' [{"amount": {"value": 1.5, "currency": "usd"}, "line_item": "gpt-4.1, input"}]}], "has_more": false}'
    ),
    _csv(
        "start_time,end_time,num_model_requests,input_tokens,output_tokens,model",
        "1790812800,1790899200,5,900,90,gpt-4.1",
    ),
    _csv('{"spend": 0.5, "startTime": "2026-10-01T00:00:00Z", "model": "gpt-4.1", "request_id": "a"}'),
)
METRICS: Final = (
    _csv("time,machine,gpu_utilization", "2026-10-01T00:00:00Z,i-1,40", "2026-10-01T01:00:00Z,i-1,50"),
    _csv(
        '{"data": {"result": [{"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "instance": "i-1", "gpu": "0"}, '
        '"values": [[1790812800, "40"], [1790816400, "50"]]}]}}'
    ),
    _csv('"Time","gpu{instance=""i-1"", gpu=""0""}","gpu{instance=""i-1"", gpu=""1""}"', "1790812800000,40,50"),
    _csv('"Series";"Time";"Value"', '"i-1 GPU 0";"2026-10-01T00:00:00Z";"40,5 %"'),
    _csv(
        '{"MetricDataResults": [{"Id": "m1", "Label": "i-1 nvidia_smi_utilization_gpu", "Timestamps":'
        ' ["2026-10-01T00:00:00Z"], "Values": [40]}]}'
    ),
    _csv('{"Label": "gpu", "Datapoints": [{"Timestamp": "2026-10-01T00:00:00Z", "Average": 40, "Unit": "Percent"}]}'),
    _csv(
        '{"results": {"A": {"frames": [{"schema": {"fields": [{"name": "Time", "type": "time"}, {"name": "i-1", "type":'
        ' "number"}]}, "data": {"values": [[1790812800000], [40]]}}]}}}'
    ),
)
CATALOGS: Final = (
    _csv(
        "provider,region,instance,hardware,gpus,pricing_model,usd_per_hour",
        "acme,eu,box,h100,8,on_demand,20",
    ),
    _csv(
        "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region",
        "p5.48xlarge,H100,8,55.04,20,us-east-1",
    ),
    _csv(
        '{"offerCode": "AmazonEC2", "publicationDate": "2026-10-01T00:00:00Z", "products": {"A": {"sku": "A", '
        '"attributes": {"instanceType": "p5.48xlarge", "regionCode": "us-east-1"}}}, "terms": {"OnDemand": {"A": {}}}}'
    ),
)
CATALOG_TOML: Final = _csv(
    "[[offer]]",
    'provider = "acme"',
    'region = "eu"',
    'instance = "box"',
    'hardware = "h100"',
    "gpus = 8",
    'pricing_model = "on_demand"',
    "usd_per_hour = 20.0",
)
WORKLOADS: Final = _csv(
    '[[workload]]\nname = "eval"\nlane = "deferrable"\ndeadline = "4h"\nmatch = { tenant = "a*" }',
    '[[workload]]\nname = "chat"\nlane = "realtime"\nslo = { ttft_s = 1.0, tpot_s = 0.05 }',
)
SPOT: Final = (
    _csv("0,add,i-1", "600000,remove,i-1", "900000,add,i-2"),
    _csv("2026-01-01,00:00:00,2", "2026-01-01,01:00:00,1"),
)
HOLDINGS: Final = _csv(
    '[[machines]]\nprovider = "aws"\ninstance = "p5.48xlarge"\nmachines = 1\nregion = "us-east-1"',
    '[[savings_plan]]\nprovider = "aws"\nusd_per_hour = 10.0\nrates = { "p5.48xlarge" = 30.0 }',
)
CARBON: Final = _csv("region,hour,grams_per_kwh", "*,0,300", "*,12,200")
TIMED: Final = _csv(
    "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s",
    *(f"{0.5 * place},900,20,0.2,0.6" for place in range(30)),
)
CONFIG: Final = _csv(
    '[store]\nurl = "sqlite:///nowhere/gateway.db"',
    '[[venue]]\nname = "a"\nkind = "vllm"\nurl = "http://127.0.0.1:1"\nmodels = ["m"]',
)
