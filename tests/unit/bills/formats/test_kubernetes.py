"""Allocations of OpenCost and Kubecost."""

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills import Bill
from meritorder.errors import BillError

HEADER = "Name,Cluster,Node,StartTime,EndTime,CPUCost,GPUHours,GPUCost,RAMCost,PVCost,TotalCost"
KUBECOST = "Name,Cluster,Window Start,Window End,CPU Cost,GPU Hours,GPU Cost,RAM Cost,Total Cost"
DAY = "2026-10-02T00:00:00Z,2026-10-03T00:00:00Z"


def read(path: Path, text: str, **options: object) -> Bill:
    path.write_text(text)
    return bills.read(path, **options)  # type: ignore[arg-type]


def by_kind(bill: Bill) -> dict[str | None, Decimal]:
    return dict(bill.groups.group_by("kind").agg(pl.col("amortised_usd").sum()).rows())


def test_pods_are_split_by_component(tmp_path: Path) -> None:
    """A pod of $47 has $40 of GPU, $6 of the rest of its machine, and $1 that no component states."""
    rows = [f"ns/chat-0,c,n1,{DAY},4,48,40,2,0,47", f"ns/web-0,c,n2,{DAY},3,0,0,1,0.5,4.5"]
    bill = read(tmp_path / "pods.csv", "\n".join([HEADER, *rows]) + "\n")
    assert by_kind(bill) == {"accelerator": Decimal(40), "host": Decimal(7), None: Decimal("4.5")}
    assert bill.report.billed_usd == Decimal("51.5")
    gpu = bill.charges.filter(pl.col("kind") == "accelerator").select("quantity", "unit", "resource").collect()
    assert gpu.rows() == [(48.0, "GPU-Hours", "ns/chat-0")]


def test_kubecost_spells_columns_with_spaces(tmp_path: Path) -> None:
    bill = read(tmp_path / "pods.csv", f"{KUBECOST}\nchat,c,{DAY},4,24,40,2,46\nidle,c,{DAY},1,0,0,1,2\n")
    assert by_kind(bill) == {"accelerator": Decimal(40), "host": Decimal(6), None: Decimal(2)}


def test_answer_of_the_allocation_api(tmp_path: Path) -> None:
    """The API answers a list of sets, each of allocations by name."""
    start, end = DAY.split(",")
    pod = {"start": start, "end": end, "cpuCost": 1.5, "gpuCost": 20, "gpuHours": 24, "ramCost": 0.5, "totalCost": 22}
    sets = [
        {"ns/chat-0": pod | {"name": "ns/chat-0", "properties": {"cluster": "c1", "namespace": "ns"}}},
        {"ns/chat-1": pod | {"name": "ns/chat-1", "properties": {"cluster": "c1", "namespace": "ns"}}},
    ]
    bill = read(tmp_path / "allocation.json", json.dumps({"code": 200, "data": sets}))
    assert by_kind(bill) == {"accelerator": Decimal(40), "host": Decimal(4)}
    assert set(bill.groups["account"]) == {"c1"}


def test_pods_for_training_are_not_inference(tmp_path: Path) -> None:
    rows = [f"ns/{name},c,n1,{DAY},0,24,40,0,0,40" for name in ("chat-0", "sft-train-7")]
    bill = read(tmp_path / "pods.csv", "\n".join([HEADER, *rows]) + "\n")
    assert by_kind(bill) == {"accelerator": Decimal(40), None: Decimal(40)}
    assert [assumed.option for assumed in bill.report.assumptions] == ["--select tag:pod=ns/sft-train-7"]


def test_unreadable_cost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="no readable amount"):
        read(tmp_path / "pods.csv", f"{HEADER}\nns/chat-0,c,n1,{DAY},4,24,forty,2,0,47\n")
