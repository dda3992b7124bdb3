"""The commands that go on from an estimate."""

import shlex
from collections.abc import Sequence

from meritorder.estimation import Way
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE

_BATCH_FORMAT = "openai_batch"
_PROMPTS = "prompts"


def trace_commands(file: str, model: str, hardware: Sequence[str], options: CompareOptions) -> list[str]:
    """Return the commands that answer for the simulated requests in full.

    Args:
        file: Where the requests are, or would be written by --write-trace.
        model: The model.
        hardware: What it is served on; empty if it is only had as tokens.
        options: The share that can wait.
    """
    arguments = [file, "--model", model, *(["--hardware", ",".join(hardware)] if hardware else [])]
    for rule in options.defer:
        arguments += ["--defer", rule]
    if options.spot:
        arguments.append("--spot")
    commands = [f"meritorder compare {shlex.join(arguments)} --html compare.html"]
    if hardware:
        commands.append(f"meritorder plan {shlex.join(arguments)} --html plan.html")
    return commands


def job_commands(way: Way, trace: Trace, model: str, by_s: float) -> list[str]:
    """Return the commands that run a job in a way, through the gateway.

    Args:
        way: The way.
        trace: The requests.
        model: The model.
        by_s: When it must be done.
    """
    files, window = shlex.join(trace.report.files), _duration(by_s)
    commands = []
    submitted = trace.report.files[0] if len(trace.report.files) == 1 else "batch.jsonl"
    if trace.report.format == _PROMPTS:
        body = f'{{model: "{model}", messages: [{{role: "user", content: .prompt}}]}}'
        line = f'{{custom_id: (.id | tostring), method: "POST", url: "/v1/chat/completions", body: {body}}}'
        submitted = "batch.jsonl"
        commands.append(f"jq -c {shlex.quote(line)} {files} > {submitted}")
    if way.name.startswith("machines"):
        hardware = way.name.rpartition("_")[2]
        spot = " --spot" if "_spot_" in way.name else ""
        commands.append(
            f"meritorder plan {files} --model {shlex.quote(model)} --hardware {hardware}{spot} --spread 1s "
            f"--defer 100%@{window} --json plan.json"
        )
        commands.append("meritorder serve --config gateway.toml --plan plan.json")
    else:
        commands.append("meritorder serve --config gateway.toml")
    commands.append(f"meritorder batch submit {shlex.quote(submitted)} --window {window} --wait")
    return commands


def _duration(seconds: float) -> str:
    """Write a duration as options take it."""
    for unit_s, unit in ((SECONDS_PER_HOUR, "h"), (SECONDS_PER_MINUTE, "m")):
        if seconds % unit_s == 0:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:g}s"
