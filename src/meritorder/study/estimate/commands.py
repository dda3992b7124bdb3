"""The commands that go on from an estimate."""

import shlex
from typing import Final

from meritorder import catalog as facts
from meritorder.domain import Attention, Slo
from meritorder.sim.pools import Startup
from meritorder.study.fleet.options import CompareOptions
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE

_DEFAULT: Final = CompareOptions()


def trace_commands(file: str, model: str, options: CompareOptions) -> list[str]:
    """Return the commands that answer for the simulated requests in full.

    Args:
        file: Where the requests are, or would be written by --write-trace.
        model: The model.
        options: The options, with the hardware that was searched; none if the model is only had as tokens.
    """
    arguments = shlex.join([file, *option_arguments(model, options)])
    commands = [f"meritorder compare {arguments} --html compare.html"]
    if options.hardware:
        commands.append(f"meritorder plan {arguments} --html plan.html")
    return commands


def option_arguments(model: str, options: CompareOptions) -> list[str]:
    """Return the arguments of `compare` and `plan` for a model and options, without those that have their default."""
    values = {
        "--model": model,
        "--hardware": ",".join(options.hardware),
        "--provider": ",".join(options.providers),
        "--region": ",".join(options.regions),
        "--slo": _slo(options.slo) if options.slo else "",
        "--startup": _startup(options.startup) if options.startup != _DEFAULT.startup else "",
        "--spread": duration_argument(options.spread_s) if options.spread_s != _DEFAULT.spread_s else "",
        "--engine": options.engine if options.engine != _DEFAULT.engine else "",
        "--precision": options.precision,
        "--allow-precision": ",".join(options.allowed_precisions),
        "--tp": options.tp,
        "--attention": "" if options.attention == Attention.ANY else options.attention,
        "--max-num-seqs": options.max_num_seqs,
        "--max-num-batched-tokens": options.max_num_batched_tokens,
        "--memory-utilization": options.memory_utilization,
        "--kv-cache-dtype": options.kv_cache_dtype,
        "--profile": options.profile,
        "--workloads": options.workloads,
        "--seed": options.seed if options.seed != _DEFAULT.seed else "",
    }
    arguments = [word for name, value in values.items() if value not in ("", None) for word in (name, str(value))]
    arguments += facts.arguments(options.catalogs)
    arguments += [word for rule in options.defer for word in ("--defer", rule)]
    return arguments + [name for name, given in (("--spot", options.spot), ("--roofline", options.roofline)) if given]


def duration_argument(seconds: float) -> str:
    """Return a duration as options take it."""
    for unit_s, unit in ((SECONDS_PER_HOUR, "h"), (SECONDS_PER_MINUTE, "m")):
        if seconds % unit_s == 0:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:g}s"


def _slo(slo: Slo) -> str:
    return f"ttft={duration_argument(slo.ttft_s)},tpot={duration_argument(slo.tpot_s)},attainment={slo.attainment:g}"


def _startup(startup: Startup) -> str:
    if startup == Startup.with_total(startup.total_s):
        return duration_argument(startup.total_s)
    parts = ("machine", "image", "weights", "warmup")
    return ",".join(f"{part}={duration_argument(getattr(startup, f'{part}_s'))}" for part in parts)
