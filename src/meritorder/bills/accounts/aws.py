"""An AWS account as a bill without an export: costs, commitments, running GPU instances and how much they are used.

Everything is read with the user's own credentials, and nothing is changed. Cost Explorer charges a cent a request.

Source: AWS Cost Explorer, EC2 and CloudWatch API references; CloudWatch agent, "Collect NVIDIA GPU metrics"; Amazon
SageMaker, "Metrics for monitoring"; read 2026-11.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, TypeVar

import polars as pl

from meritorder.bills import selection
from meritorder.bills.files import SourceFile
from meritorder.bills.formats import cost_explorer
from meritorder.bills.metrics.series import SAMPLES
from meritorder.bills.metrics.utilization import UtilizationMetrics, interpret
from meritorder.errors import BillError, MissingExtraError

Session = Any
"""A session of boto3, which has no types."""

T = TypeVar("T")
Progress = Callable[[str], None]

COSTS_REGION: Final = "us-east-1"
"""The region of Cost Explorer, whatever the account's own is."""

PERMISSIONS: Final = (
    "ce:GetCostAndUsage",
    "ce:GetSavingsPlansUtilizationDetails",
    "ce:GetReservationUtilization",
    "ec2:DescribeInstances",
    "cloudwatch:ListMetrics",
    "cloudwatch:GetMetricData",
)
"""What the credentials need; all of it reads."""

_METRICS: Final = (
    ("CWAgent", "nvidia_smi_utilization_gpu", "InstanceId", "index"),
    ("/aws/sagemaker/Endpoints", "GPUUtilization", "EndpointName", "VariantName"),
)
"""Namespace, metric, and the dimensions that name machine and GPU."""

_PERIOD_S: Final = 300
_SERIES_AT_ONCE: Final = 100
_TIMEOUT_S: Final = 30
_NOT_SHOWN: Final = ("NoRegion", "global", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRead:
    """What an account shows without an export.

    Args:
        costs: Its costs, as the table of a bill; its assumptions state what else the account shows, and what could not
            be read.
        metrics: How much its GPUs were used, None if CloudWatch has no such metrics.
    """

    costs: SourceFile
    metrics: UtilizationMetrics | None


def open_session(profile: str | None) -> Session:
    """Return a session with the user's credentials.

    Raises:
        MissingExtraError: boto3 is not installed.
        BillError: There is no such profile.
    """
    if find_spec("boto3") is None:
        raise MissingExtraError("audit aws needs the extra aws", fix="pip install 'meritorder[aws]'")
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session(profile_name=profile)
    except BotoCoreError as error:
        raise BillError(str(error), where="audit aws", fix="name a profile of ~/.aws/config") from error


def read_account(session: Session, start: dt.date, end: dt.date, progress: Progress = lambda _: None) -> AccountRead:
    """Read the costs of an account from `start` until `end`, its commitments, and the use of its GPUs.

    Raises:
        BillError: There are no credentials, or they may not read the costs.
    """
    progress("reading Cost Explorer")
    costs = _client(session, "ce", COSTS_REGION)
    period = {"Start": start.isoformat(), "End": end.isoformat()}
    notes: list[str] = []
    try:
        rows = list(_cost_rows(costs, period))
    except _errors() as error:
        fix = f"the credentials need {', '.join(PERMISSIONS)}; name others with --aws-profile"
        raise BillError(f"its costs cannot be read: {error}", where="audit aws", fix=fix) from error
    progress("reading commitments")
    plans = _tried(notes, "savings plans", partial(_savings_plans, costs, period))
    notes += [f"savings plan {_short(name)} was used to {share:.1f} %" for name, share in plans]
    notes += _tried(notes, "reservations", partial(_reservations, costs, period))
    table = _table(rows, plans)
    regions = sorted({row["region"] for row in rows if row["region"] not in _NOT_SHOWN}) or [COSTS_REGION]
    progress("reading instances and their utilization")
    metrics = None
    samples: list[tuple[Any, ...]] = []
    for region in regions:
        notes += _tried(notes, f"instances of {region}", partial(_instances, session, region))
        samples += _tried(notes, f"metrics of {region}", partial(_samples, session, region, start, end))
    if samples:
        metrics = interpret(_sampled(samples), where="CloudWatch")
    else:
        notes.append(
            "CloudWatch has no utilization of GPUs: the CloudWatch agent sends it, with nvidia_gpu switched on"
        )
    return AccountRead(costs=replace(table, assumptions=tuple(notes)), metrics=metrics)


def _client(session: Session, service: str, region: str) -> Any:
    from botocore.config import Config

    return session.client(
        service, region_name=region, config=Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S)
    )


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)


def _tried(notes: list[str], what: str, read: Callable[[], list[T]]) -> list[T]:
    """Return what is read; if that is not allowed, note it and return nothing."""
    try:
        return read()
    except _errors() as error:
        notes.append(f"{what} cannot be read: {str(error).splitlines()[0]}")
        return []


def _cost_rows(costs: Any, period: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the costs of each day by type of record and usage type, with the service and region of the usage type."""
    services = _largest(costs, period, "SERVICE")
    regions = _largest(costs, period, "REGION")
    for result in _pages(costs, period, "DAILY", "RECORD_TYPE"):
        for group in result["Groups"]:
            (kind, usage_type), metrics = group["Keys"], group["Metrics"]
            yield {
                "start": result["TimePeriod"]["Start"],
                "end": result["TimePeriod"]["End"],
                "record_type": kind,
                "usage_type": usage_type,
                "service": services.get(usage_type, ""),
                "region": regions.get(usage_type, ""),
                "unblended_cost": metrics["UnblendedCost"]["Amount"],
                "amortized_cost": metrics["AmortizedCost"]["Amount"],
                "currency": metrics["UnblendedCost"]["Unit"],
                "quantity": metrics["UsageQuantity"]["Amount"],
                "unit": metrics["UsageQuantity"]["Unit"],
            }


def _pages(costs: Any, period: Mapping[str, str], granularity: str, dimension: str) -> Iterator[dict[str, Any]]:
    request = {
        "TimePeriod": dict(period),
        "Granularity": granularity,
        "Metrics": ["UnblendedCost", "AmortizedCost", "UsageQuantity"],
        "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in (dimension, "USAGE_TYPE")],
    }
    token: dict[str, str] = {}
    while True:
        page = costs.get_cost_and_usage(**request, **token)
        yield from page["ResultsByTime"]
        if not page.get("NextPageToken"):
            return
        token = {"NextPageToken": page["NextPageToken"]}


def _largest(costs: Any, period: Mapping[str, str], dimension: str) -> dict[str, str]:
    """Return, for each usage type, the value of a dimension with most of its cost."""
    sums: dict[str, dict[str, float]] = {}
    for result in _pages(costs, period, "MONTHLY", dimension):
        for group in result["Groups"]:
            value, usage_type = group["Keys"]
            of_type = sums.setdefault(usage_type, {})
            of_type[value] = of_type.get(value, 0.0) + abs(float(group["Metrics"]["AmortizedCost"]["Amount"]))
    return {usage_type: max(values, key=lambda value: values[value]) for usage_type, values in sums.items()}


def _table(rows: list[dict[str, str]], plans: list[tuple[str, float]]) -> SourceFile:
    """Return the costs as the table of a bill; Cost Explorer names the plan of a cost only if there is one."""
    plan = plans[0][0] if len(plans) == 1 else "savings plans"
    frame = pl.DataFrame(rows, schema=dict.fromkeys(cost_explorer.COLUMNS, pl.String)).with_columns(
        commitment=pl.when(pl.col("record_type").str.starts_with("SavingsPlan"))
        .then(pl.lit(plan))
        .when(pl.col("record_type").is_in(("DiscountedUsage", "RIFee")))
        .then(pl.lit("reservations"))
    )
    lazy = frame.lazy().with_row_index("row", offset=1)
    return SourceFile(name="AWS Cost Explorer", frame=lazy, columns=frozenset(frame.columns))


def _savings_plans(costs: Any, period: Mapping[str, str]) -> list[tuple[str, float]]:
    answer = costs.get_savings_plans_utilization_details(TimePeriod=dict(period))
    details = answer["SavingsPlansUtilizationDetails"]
    return [(plan["SavingsPlanArn"], float(plan["Utilization"]["UtilizationPercentage"])) for plan in details]


def _reservations(costs: Any, period: Mapping[str, str]) -> list[str]:
    total = costs.get_reservation_utilization(TimePeriod=dict(period))["Total"]
    if not float(total.get("PurchasedHours") or 0):
        return []
    return [f"reservations were used to {float(total['UtilizationPercentage']):.1f} %"]


def _instances(session: Session, region: str) -> list[str]:
    """Return the running GPU instances of a region, by type, as a sentence."""
    counts: dict[str, int] = {}
    pages = _client(session, "ec2", region).get_paginator("describe_instances")
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    for page in pages.paginate(Filters=running):
        for reservation in page["Reservations"]:
            for instance in reservation["Instances"]:
                counts[instance["InstanceType"]] = counts.get(instance["InstanceType"], 0) + 1
    gpus = {name: count for name, count in sorted(counts.items()) if _is_accelerator(name)}
    return [f"{count} x {name} {'runs' if count == 1 else 'run'} now in {region}" for name, count in gpus.items()]


def _is_accelerator(instance_type: str) -> bool:
    family = instance_type.partition(".")[0]
    return any(
        re.match(rule["pattern"], family)
        for rule in selection.rules()["rule"]
        if rule["kind"] == "accelerator" and rule.get("provider") == "aws" and rule["column"] == "instance_family"
    )


def _samples(session: Session, region: str, start: dt.date, end: dt.date) -> list[tuple[Any, ...]]:
    """Return samples of the first kind of metric that a region has, as rows of `SAMPLES`."""
    client = _client(session, "cloudwatch", region)
    for namespace, name, machine, gpu in _METRICS:
        pages = client.get_paginator("list_metrics").paginate(Namespace=namespace, MetricName=name)
        listed = [metric for page in pages for metric in page["Metrics"]]
        if listed:
            series = list(_series(client, listed, start, end))
            return [row for metric, values in series for row in _rows(name, metric, machine, gpu, values)]
    return []


def _series(
    client: Any,
    metrics: list[dict[str, Any]],
    start: dt.date,
    end: dt.date,
) -> Iterator[tuple[dict[str, Any], Iterable[tuple[dt.datetime, float]]]]:
    """Yield each metric with its times and values, many metrics in one request."""
    for first in range(0, len(metrics), _SERIES_AT_ONCE):
        chunk = metrics[first : first + _SERIES_AT_ONCE]
        queries = [
            {"Id": f"m{place}", "MetricStat": {"Metric": metric, "Period": _PERIOD_S, "Stat": "Maximum"}}
            for place, metric in enumerate(chunk)
        ]
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries, StartTime=_midnight(start), EndTime=_midnight(end)
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                values = zip(result["Timestamps"], result["Values"], strict=True)
                yield chunk[int(result["Id"].removeprefix("m"))], values


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def _rows(
    name: str, metric: dict[str, Any], machine: str, gpu: str, values: Iterable[tuple[dt.datetime, float]]
) -> Iterator[tuple[Any, ...]]:
    labels = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
    for at, value in values:
        yield at.timestamp(), name, labels.get(machine, ""), labels.get(gpu, ""), False, float(value)


def _sampled(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SAMPLES, orient="row")


def _short(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]
