"""Lanes and deadlines: what a user writes, and what becomes of the requests."""

from pathlib import Path

import polars as pl
import pytest

from meritorder import traces
from meritorder.domain import Access, Lane, Slo
from meritorder.errors import WorkloadsError
from meritorder.records.evidence import Assumption
from meritorder.traces.read import read_trace
from meritorder.traces.workloads import assign, load_workloads, parse_defer

SLO = Slo(ttft_s=1.0, tpot_s=0.05)
ROWS = "arrived_at,input_tokens,output_tokens,tenant,model,deadline\n"


def trace(tmp_path: Path, *rows: str, dated: bool = True) -> traces.Trace:
    path = tmp_path / "trace.csv"
    text = [row if dated else row.replace("2026-01-05T", "").replace(":00", "") for row in rows]
    path.write_text((ROWS if dated else ROWS.replace("arrived_at", "arrived_s")) + "\n".join(text) + "\n")
    return read_trace([path])


def loaded(tmp_path: Path, text: str) -> tuple[traces.workloads.Workload, ...]:
    path = tmp_path / "workloads.toml"
    path.write_text(text)
    return load_workloads(path)


def table(**keys: str) -> str:
    return "[[workload]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


CHAT = table(name='"chat"', lane='"realtime"', match='{tenant="web-*"}', slo="{ttft_s=2, tpot_s=0.1, attainment=0.95}")
EVALS = table(name='"evals"', lane='"deferrable"', deadline='"4h"', match='{tenant="*eval*", model="m?"}')


def test_times_of_day_are_the_next(tmp_path: Path) -> None:
    read = trace(tmp_path, *(f"2026-01-05T{hour}:00:00Z,1,1,eval,m1," for hour in ("05", "06", "07")))
    workloads = loaded(tmp_path, EVALS.replace("4h", "06:00"))
    due = assign(read, workloads, SLO).requests["deadline_s"]
    assert due.to_list() == [3600, 25 * 3600, 25 * 3600]


def test_time_of_day_needs_dates(tmp_path: Path) -> None:
    read = trace(tmp_path, "2026-01-05T05:00:00,1,1,eval,m1,", dated=False)
    with pytest.raises(WorkloadsError, match=r"workload evals: deadline 06:00 needs the time of day"):
        assign(read, loaded(tmp_path, EVALS.replace("4h", "06:00")), SLO)


def test_past_instants_are_refused(tmp_path: Path) -> None:
    read = trace(tmp_path, "2026-01-05T05:00:00Z,1,1,eval,m1,", "2026-01-05T07:00:00Z,1,1,eval,m1,")
    with pytest.raises(WorkloadsError, match="in the past for 1 of 2 requests"):
        assign(read, loaded(tmp_path, EVALS.replace("4h", "2026-01-05T06:00")), SLO)


def test_first_matching_workload_wins(tmp_path: Path) -> None:
    read = trace(
        tmp_path,
        "2026-01-05T05:00:00Z,1,1,web-eval,m1,",
        "2026-01-05T05:00:01Z,1,1,my-evals,m2,",
        "2026-01-05T05:00:02Z,1,1,my-evals,big,",
        "2026-01-05T05:00:03Z,1,1,,,",
    )
    assigned = assign(read, loaded(tmp_path, CHAT + EVALS), SLO)
    assert assigned.requests.select("workload", "deadline_s").rows() == [
        ("chat", None),
        ("evals", 14401.0),
        ("realtime", None),
        ("realtime", None),
    ]
    assert assigned.unmatched == 2
    assert assigned.assumptions == (
        Assumption(text="2 of 4 requests match no workload and are taken as real time", option="--workloads"),
    )
    assert [(workload.name, workload.lane, workload.slo) for workload in assigned.workloads] == [
        ("chat", Lane.REALTIME, Slo(ttft_s=2, tpot_s=0.1, attainment=0.95)),
        ("evals", Lane.DEFERRABLE, None),
        ("realtime", Lane.REALTIME, SLO),
    ]


def test_trace_keeps_its_own_deadlines(tmp_path: Path) -> None:
    due = "2026-01-05T05:30:00Z"
    read = trace(
        tmp_path,
        f"2026-01-05T05:00:00Z,1,1,eval,m1,{due}",
        "2026-01-05T05:00:00Z,1,1,eval,m1,",
        f"2026-01-05T05:00:00Z,1,1,other,m1,{due}",
        f"2026-01-05T05:00:00Z,1,1,web-1,m1,{due}",
    )
    assigned = assign(read, loaded(tmp_path, CHAT + EVALS), SLO)
    assert assigned.requests.select("workload", "deadline_s").rows() == [
        ("evals", 1800.0),
        ("evals", 14400.0),
        ("own deadline", 1800.0),
        ("chat", None),
    ]


def test_shares_are_deferred_exactly_and_said(tmp_path: Path) -> None:
    read = trace(tmp_path, *(f"2026-01-05T05:00:{n:02d}Z,1,1,{'eval' if n % 2 else 'x'},m1," for n in range(20)))
    defer = [parse_defer("40%@4h"), parse_defer("0.2@1d")]
    assigned = assign(read, loaded(tmp_path, EVALS), SLO, defer, seed=3)
    counts = dict(assigned.requests.group_by(pl.col("workload").cast(pl.String)).len().iter_rows())
    assert counts == {"evals": 10, "deferred 4h": 4, "deferred 1d": 2, "realtime": 4}
    assert {assumption.option for assumption in assigned.assumptions[-2:]} == {"--defer"}
    assert tuple(assumption.text for assumption in assigned.assumptions[-2:]) == (
        "40% of the real-time requests (4, drawn with seed 3) are assumed to be deferrable, deadline 4h",
        "20% of the real-time requests (2, drawn with seed 3) are assumed to be deferrable, deadline 1d",
    )
    assert {workload.name for workload in assigned.workloads if workload.assumed} == {
        "deferred 4h",
        "deferred 1d",
        "realtime",
    }
    assert assigned.requests.equals(assign(read, loaded(tmp_path, EVALS), SLO, defer, seed=3).requests)
    assert not assigned.requests.equals(assign(read, loaded(tmp_path, EVALS), SLO, defer, seed=4).requests)


def test_access_is_read_as_globs(tmp_path: Path) -> None:
    said = 'allow = {region = ["EU-*", "europe-*"], hardware = "h100"}\ndeny = {provider = "vast"}\n'
    workload = loaded(tmp_path, EVALS + said)[0]
    assert workload.access.allow == {"region": ["eu-*", "europe-*"], "hardware": ["h100"]}
    assert workload.access.deny == {"provider": ["vast"]}
    assert Access.from_tables(workload.access.allow, workload.access.deny) == workload.access
    assert loaded(tmp_path, EVALS)[0].access == Access()


@pytest.mark.parametrize(
    ("allow", "deny", "permitted"),
    [
        ({}, {}, True),
        ({"provider": ["aws"]}, {}, True),
        ({"provider": ["gcp"]}, {}, False),
        ({"region": ["eu-*"]}, {}, True),
        ({"region": ["eu-*"]}, {"region": ["eu-north-*"]}, False),
        ({}, {"region": ["us-*"]}, True),
        ({"hardware": ["h?00"]}, {}, True),
        ({"region": ["eu-*"], "provider": ["gcp"]}, {}, False),
    ],
)
def test_all_that_is_said_must_permit(allow: dict[str, list[str]], deny: dict[str, list[str]], permitted: bool) -> None:  # noqa: FBT001
    assert Access.from_tables(allow, deny).permits("aws", "EU-north-1", "h100") is permitted


def test_unknown_regions_may_be_anywhere() -> None:
    assert Access.from_tables({}, {}).permits("aws", "", "h100")
    assert not Access.from_tables({"region": ["*"]}, {}).permits("aws", "", "h100")
    assert not Access.from_tables({}, {"region": ["us-*"]}).permits("aws", "", "h100")


def test_token_apis_have_no_hardware() -> None:
    assert not Access.from_tables({"hardware": ["*"]}, {}).permits("novita", "")
    assert Access.from_tables({}, {"hardware": ["h100"]}).permits("novita", "")


def test_deferred_requests_keep_their_access(tmp_path: Path) -> None:
    read = trace(tmp_path, *(f"2026-01-05T05:00:{n:02d}Z,1,1,{'web-1' if n % 2 else 'x'},m1," for n in range(20)))
    limited = CHAT + 'allow = {region = "eu-*"}\n'
    assigned = assign(read, loaded(tmp_path, limited), SLO, [parse_defer("50%@4h")])
    access = {workload.name: workload.access.allow for workload in assigned.workloads}
    assert access == {
        "chat": {"region": ["eu-*"]},
        "realtime": {},
        "deferred 4h": {},
        "deferred 4h of chat": {"region": ["eu-*"]},
    }
    rows = assigned.requests.select(pl.col("workload", "tenant").cast(pl.String)).unique().sort("workload").rows()
    assert rows == [("chat", "web-1"), ("deferred 4h", "x"), ("deferred 4h of chat", "web-1"), ("realtime", "x")]
    assert assigned.requests["deadline_s"].is_not_null().sum() == 10


@pytest.mark.parametrize("text", ["40%", "@4h", "0%@4h", "140%@4h", "many@4h", "40%@soon", "nan@4h", "40@4h"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(WorkloadsError, match="--defer"):
        parse_defer(text)


def test_shares_of_more_than_the_whole(tmp_path: Path) -> None:
    read = trace(tmp_path, "2026-01-05T05:00:00Z,1,1,x,m1,")
    with pytest.raises(WorkloadsError, match="more than 100%"):
        assign(read, (), SLO, [parse_defer("60%@4h"), parse_defer("60%@1h")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[workload]]"),
        ("[workload]\n", "no [[workload]]"),
        ("workload = [1]\n", "workload 1: is not a table"),
        ("not toml", "is not TOML"),
        ("[[workloads]]\n", "unknown key workloads"),
        (table(lane='"realtime"'), "workload 1: has no name"),
        (table(name="1"), "name must be text"),
        (CHAT + table(name='"x"', lane='"later"'), "workload 2 (x): unknown lane 'later'"),
        (CHAT + CHAT, "two workloads are named chat"),
        (EVALS + "speed = 1\n", "unknown key speed"),
        (EVALS.replace("tenant", "color"), "unknown column color"),
        (EVALS.replace('"m?"', "3"), "match model must be text"),
        (EVALS.replace("4h", "soon"), "'soon' is not a deadline"),
        (table(name='"x"', lane='"deferrable"'), "needs a deadline"),
        (table(name='"x"', lane='"realtime"'), "needs an slo"),
        (CHAT + 'deadline = "4h"\n', "has no deadline"),
        (EVALS + "slo = {ttft_s=1, tpot_s=1}\n", "has no slo"),
        (CHAT.replace("ttft_s=2", "ttft=2"), "unknown key ttft"),
        (CHAT.replace("ttft_s=2, ", ""), "slo lacks ttft_s"),
        (CHAT.replace("ttft_s=2", "ttft_s=-2"), "ttft_s must be a positive time"),
        (CHAT.replace("ttft_s=2", "ttft_s=true"), "ttft_s must be a number"),
        (table(name='"realtime"', lane='"deferrable"', deadline='"4h"'), "is taken"),
        (EVALS + 'allow = "eu"\n', "allow is not a table"),
        (EVALS + 'deny = {regions = "eu-*"}\n', "unknown key regions of deny"),
        (EVALS + "allow = {region = []}\n", "allow region must be names"),
        (EVALS + "allow = {region = [1]}\n", "allow region must be names"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WorkloadsError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value)
    assert said in message
    assert "workloads.toml" in message
    assert "\n" not in message


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WorkloadsError, match="cannot be read"):
        load_workloads(tmp_path / "none.toml")
