"""An AWS account as a bill, against moto and, for what it does not have, canned answers."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import botocore.client
import pytest
from moto import mock_aws
from moto.ce.models import ce_backends
from moto.core import DEFAULT_ACCOUNT_ID

from meritorder import bills
from meritorder.bills.accounts import aws
from meritorder.bills.accounts.aws import Session
from meritorder.errors import BillError, MissingExtraError
from meritorder.study.audit.answer import audit
from meritorder.study.audit.context import AuditOptions

START, END = dt.date(2026, 11, 2), dt.date(2026, 11, 4)
PLAN = "arn:aws:savingsplans::111122223333:savingsplan/p-1"
UTILIZATION = {
    "GetSavingsPlansUtilizationDetails": {
        "SavingsPlansUtilizationDetails": [
            {"SavingsPlanArn": PLAN, "Utilization": {"UtilizationPercentage": "87.5", "UnusedCommitment": "60"}}
        ]
    },
    "GetReservationUtilization": {"Total": {"PurchasedHours": "48", "UtilizationPercentage": "50"}},
}
_CALL = botocore.client.BaseClient._make_api_call


def answered(client: Session, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return UTILIZATION[operation] if operation in UTILIZATION else _CALL(client, operation, arguments)


def group(
    keys: tuple[str, str], unblended: float, amortized: float, hours: float = 0, unit: str = "Hrs"
) -> dict[str, Any]:
    amounts = {"UnblendedCost": (unblended, "USD"), "AmortizedCost": (amortized, "USD"), "UsageQuantity": (hours, unit)}
    return {
        "Keys": list(keys),
        "Metrics": {name: {"Amount": str(amount), "Unit": of} for name, (amount, of) in amounts.items()},
    }


def result(start: dt.date, end: dt.date, *groups: dict[str, Any]) -> dict[str, Any]:
    period = {"Start": start.isoformat(), "End": end.isoformat()}
    return {"TimePeriod": period, "Total": {}, "Groups": list(groups), "Estimated": False}


def day(start: dt.date) -> dict[str, Any]:
    """Two p5 on demand and one under a savings plan, of which an eighth goes unused, tokens, and a tax."""
    return result(
        start,
        start + dt.timedelta(days=1),
        group(("Usage", "BoxUsage:p5.48xlarge"), 2400, 2400, 48),
        group(("SavingsPlanCoveredUsage", "BoxUsage:p5.48xlarge"), 1200, 840, 24),
        group(("SavingsPlanNegation", "BoxUsage:p5.48xlarge"), -1200, 0, 0),
        group(("SavingsPlanRecurringFee", "ComputeSP:1yrNoUpfront"), 960, 120, 0),
        group(("Usage", "USE1-Claude4.5Sonnet-input-tokens"), 30, 30, 10_000, "1K tokens"),
        group(("Tax", "NoUsageType"), 5, 5),
    )


@pytest.fixture
def session() -> Iterator[Session]:
    with mock_aws(), patch("botocore.client.BaseClient._make_api_call", new=answered):
        import boto3

        queue = ce_backends[DEFAULT_ACCOUNT_ID]["aws"].cost_usage_results_queue
        by = {
            "SERVICE": ("Amazon Elastic Compute Cloud - Compute", "Amazon Bedrock"),
            "REGION": ("us-east-1", "us-east-1"),
        }
        for machine, tokens in by.values():
            groups = (
                group((machine, "BoxUsage:p5.48xlarge"), 1, 9, 1),
                group((tokens, "USE1-Claude4.5Sonnet-input-tokens"), 1, 1),
            )
            queue.append({"ResultsByTime": [result(START, END, *groups)], "DimensionValueAttributes": []})
        days = [day(START), day(START + dt.timedelta(days=1))]
        queue.append({"ResultsByTime": days, "DimensionValueAttributes": []})
        yield boto3.Session(region_name="us-east-1")


def put_utilization(session: Session, instance: str, values: list[float]) -> None:
    """Put a sample every five minutes of the first hours of the period."""
    start = dt.datetime(START.year, START.month, START.day, tzinfo=dt.UTC)
    client = session.client("cloudwatch")
    dimensions = [{"Name": "InstanceId", "Value": instance}, {"Name": "index", "Value": "0"}]
    samples = [
        {
            "MetricName": "nvidia_smi_utilization_gpu",
            "Dimensions": dimensions,
            "Timestamp": start + dt.timedelta(minutes=5 * place),
            "Value": value,
        }
        for place, value in enumerate(values)
    ]
    for first in range(0, len(samples), 20):
        client.put_metric_data(Namespace="CWAgent", MetricData=samples[first : first + 20])


def test_account_is_read_as_a_bill(session: Session) -> None:
    """Each day costs 2,400 on demand, 960 under the plan, of which 120 are unused, 30 of tokens, and 5 of tax."""
    account = aws.read_account(session, START, END)
    bill = bills.read([account.costs])
    whole, inference = (bills.compute_figures(rows) for rows in (bill.groups, bills.select_inference(bill.groups)))
    assert whole.billed_usd == 2 * Decimal(2400 + 960 + 30 + 5)
    assert inference.amortised_usd == 2 * Decimal(2400 + 840 + 120 + 30)
    assert inference.commitment_utilization == Decimal("0.875")
    assert inference.on_demand_equivalent_usd == 2 * Decimal(2400 + 1200)
    assert set(bill.groups["commitment"].drop_nulls()) == {PLAN}
    assert set(bill.groups.filter(bill.groups["kind"] == "tokens")["service"]) == {"Amazon Bedrock"}


def test_use_of_commitments_is_stated(session: Session) -> None:
    account = aws.read_account(session, START, END)
    assert "savings plan p-1 was used to 87.5 %" in account.costs.assumptions
    assert "reservations were used to 50.0 %" in account.costs.assumptions


def test_idle_instances_by_cloudwatch(session: Session) -> None:
    """In the first two of 48 hours one of two instances does nothing: two of the four machine hours on demand."""
    put_utilization(session, "i-1", [0.0] * 24)
    put_utilization(session, "i-2", [80.0] * 24)
    account = aws.read_account(session, START, END)
    assert account.metrics is not None
    assert (account.metrics.machines, account.metrics.confidence) == (2, "high")
    answer = audit(bills.read([account.costs]), AuditOptions(bill=("aws",), metrics=account.metrics))
    [idle] = [finding for finding in answer.findings if finding.kind == "idle_capacity"]
    # Three machines an hour, half of them idle, and only those on demand can be saved: at $50 an hour.
    assert idle.usd == pytest.approx(2 * 1.5 * 50)
    assert idle.confidence == "medium"
    assert any("an export" in missing.give for missing in answer.missing_inputs)


def test_running_gpu_instances_are_counted(session: Session) -> None:
    client = session.client("ec2")
    for kind in ("g5.2xlarge", "m5.large"):
        image = client.describe_images()["Images"][0]["ImageId"]
        client.run_instances(ImageId=image, InstanceType=kind, MinCount=2, MaxCount=2)
    notes = aws.read_account(session, START, END).costs.assumptions
    assert "2 x g5.2xlarge run now in us-east-1" in notes
    assert not any("m5" in note for note in notes)


def test_denied_parts_are_noted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def denied(*_: object) -> list[str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, "DescribeInstances")

    monkeypatch.setattr(aws, "_instances", denied)
    notes = aws.read_account(session, START, END).costs.assumptions
    assert any(note.startswith("instances of us-east-1 cannot be read: ") and "AccessDenied" in note for note in notes)


def test_costs_are_needed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import NoCredentialsError

    def failing(*_: object) -> Iterator[dict[str, str]]:
        raise NoCredentialsError
        yield {}

    monkeypatch.setattr(aws, "_cost_rows", failing)
    with pytest.raises(BillError, match="Unable to locate credentials; the credentials need ce:GetCostAndUsage"):
        aws.read_account(session, START, END)


def test_unknown_profile_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(BillError, match=r"audit aws: The config profile .*nobody.* could not be found; name a profile"):
        aws.open_session("nobody")


def test_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs the extra aws; pip install 'meritorder\[aws\]'"):
        aws.open_session(None)


def test_every_metric_is_read_once() -> None:
    """250 metrics are more than one request holds; a fake client answers each query with the number of its metric."""
    metrics = [{"MetricName": str(number)} for number in range(250)]

    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, *, MetricDataQueries: list[dict[str, Any]], **_: object) -> list[dict[str, Any]]:  # noqa: N803
            assert len(MetricDataQueries) <= 500  # as CloudWatch allows
            return [
                {"MetricDataResults": [{"Id": query["Id"], "Timestamps": [START], "Values": [_number(query)]}]}
                for query in MetricDataQueries
            ]

    series = list(aws._series(Client(), metrics, START, END))
    assert [(metric["MetricName"], list(values)) for metric, values in series] == [
        (str(number), [(START, float(number))]) for number in range(250)
    ]


def _number(query: dict[str, Any]) -> float:
    return float(query["MetricStat"]["Metric"]["MetricName"])
