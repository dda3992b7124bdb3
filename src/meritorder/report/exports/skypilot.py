"""A plan as services of SkyPilot, one a pool: where its machines are, spot or not, and how many replicas."""

import shlex
from typing import Any, Final

from meritorder.errors import ConfigError
from meritorder.records.planfile import Plan
from meritorder.report.exports import engines, yaml
from meritorder.report.exports.fleets import Fleet

# Clouds and GPUs as SkyPilot spells them.
_CLOUDS: Final = {
    name: name for name in ("aws", "azure", "gcp", "hyperbolic", "lambda", "nebius", "oci", "runpod", "vast")
} | {"oracle": "oci"}
_GPUS: Final = {
    "a100": "A100-80GB",
    "a100-40gb": "A100",
    "a100-pcie": "A100-80GB",
    "h100-pcie": "H100",
    "h100-nvl": "H100-NVL",
    "rtx-pro-6000": "RTXPRO6000",
    "rtx-4090": "RTX4090",
}
_PROBE_S: Final = 600.0


def services(plan: Plan, fleets: list[Fleet]) -> dict[str, str]:
    """Return a service for each pool, which `sky serve up` starts.

    Raises:
        ConfigError: SkyPilot does not rent from a provider of the plan.
    """
    by_pool: dict[str, list[Fleet]] = {}
    for fleet in fleets:
        by_pool.setdefault(fleet.pool.name, []).append(fleet)
    return {
        f"{group[0].name.removesuffix('-spot')}.sky.yaml": yaml.documents([_service(plan, group)], _comment(group))
        for group in by_pool.values()
    }


def _comment(group: list[Fleet]) -> str:
    pool = group[0].pool
    lines = ["Written by `meritorder export`: sky serve up FILE", f"Pool: {pool.name}"]
    if any(len(set(fleet.replicas)) > 1 for fleet in group):
        lines.append("SkyPilot has no schedule: it scales between the fewest and the most replicas of the plan.")
    return "\n".join(lines)


def _service(plan: Plan, group: list[Fleet]) -> dict[str, Any]:
    pool = group[0].pool
    if pool.provider not in _CLOUDS:
        known = ", ".join(sorted(set(_CLOUDS.values())))
        raise ConfigError(
            f"SkyPilot does not rent from {pool.provider or 'machines of your own'}",
            where=pool.name,
            fix=f"plan with --provider {known}",
        )
    place = "/".join(filter(None, (_CLOUDS[pool.provider], pool.region)))
    gpus = f"{_GPUS.get(pool.hardware, pool.hardware.upper())}:{pool.replica_gpus}"
    any_of = [
        {"infra": place, "use_spot": is_spot} for is_spot in sorted({fleet.is_spot for fleet in group}, reverse=True)
    ]
    fewest, most = sum(fleet.minimum for fleet in group), sum(fleet.maximum for fleet in group)
    policy: dict[str, Any] = {"min_replicas": fewest, "max_replicas": most}
    if most > fewest:
        policy["target_qps_per_replica"] = _qps(plan)
    if len(any_of) > 1:
        steady = sum(fleet.minimum for fleet in group if not fleet.is_spot)
        policy |= {"base_ondemand_fallback_replicas": steady, "dynamic_ondemand_fallback": True}
    return {
        "name": group[0].name.removesuffix("-spot"),
        "resources": {"accelerators": gpus, "ports": engines.PORT, "any_of": any_of},
        "service": {
            "readiness_probe": {"path": "/health", "initial_delay_seconds": int(pool.startup_s + _PROBE_S)},
            "replica_policy": policy,
        },
        "setup": f"uv pip install --system {pool.engine}",
        "run": shlex.join(engines.command(pool)),
    }


def _qps(plan: Plan) -> float:
    """Return the requests a second of a replica, on average over the plan.

    requests / sum over pools and slots of replicas * slot
    """
    replicas = {pool.name: pool.servers for pool in plan.pools}
    paid_s = sum(sum(row.machines) * replicas[row.pool] for row in plan.schedule) * plan.slot_s
    requests = plan.simulated.requests if plan.simulated else 0
    return max(0.001, round(requests / paid_s, 3)) if paid_s else 0.001
