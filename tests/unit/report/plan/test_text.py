import io
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.samples.plan import H200, RESERVED, TOKENS, week

from meritorder.records import planfile
from meritorder.records.planfile import CommitmentRegret, Plan, PlanOutcome
from meritorder.report.plan import simulation as simulation_text
from meritorder.report.plan import text as plan_text
from meritorder.report.plan.html import render as render_page
from meritorder.report.plan.rows import bought_tokens, commitments, regret, rentals, waterfall
from meritorder.report.waterfall import walk

FIRST_SCHEMA_PLAN = Path(__file__).parents[3] / "golden" / "plan_1.json"
ATTACK = "[red]x[/red]\x1b[2J"
BARE = {
    "routes": [], "commitments": [], "prices": [], "assumptions": [], "promises": None, "baseline": "",
    "baseline_usd": None, "saving_usd": None, "saving_share": None, "saving_interval": None, "simulated": None,
    "spot_worth_usd_per_gpu": {}, "performance": [], "waterfall": [], "backtest": [], "commitment_regret": None,
    "warnings": [],
    "tokens_usd": {}, "dispatch": None, "merit_order": [], "workloads": [], "sentence": "", "start_epoch_s": None,
}  # fmt: skip
HEADINGS = (
    "Rent", "Buy as tokens", "Commit to", "Deferrable work", "Cost", "Simulated, request by request", "Why this plan",
    "Backtest", "Confidence", "Assumptions", "Prices used", "Warnings",
)  # fmt: skip


def bare() -> Plan:
    return msgspec.structs.replace(week(), **BARE)


def printed(plan: Plan, width: int) -> str:
    file = io.StringIO()
    plan_text.render(plan, Console(file=file, width=width, color_system=None, legacy_windows=False))
    return file.getvalue()


def simulated_text(plan: Plan, simulated: PlanOutcome, width: int = 100, label: str = "other.parquet") -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, legacy_windows=False)
    simulation_text.render(plan, simulated, label, console)
    return file.getvalue()


def broken() -> PlanOutcome:
    own = week().simulated
    assert own is not None
    return msgspec.structs.replace(own, total_usd=24_001.0, slo_attainment=0.971, deadlines_missed=12, kept=False)


def row(text: str, title: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(title)).split()


def test_cost_above_floor_beside_own() -> None:
    own, other = week().simulated, broken()
    assert own is not None
    planned = msgspec.structs.replace(week(), simulated=msgspec.structs.replace(own, above_floor_usd=12.0))
    text = simulated_text(planned, msgspec.structs.replace(other, above_floor_usd=345.0))
    assert row(text, "machines above the floor")[-2:] == ["$12.00", "$345.00"]
    assert "above the floor" not in simulated_text(week(), other)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    texts = (printed(week(), width), simulated_text(week(), broken(), width))
    assert max(cell_len(line) for text in texts for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off(width: int) -> None:
    assert "…" not in printed(week(), width)
    assert "…" not in simulated_text(week(), broken(), width)


def test_sentence_first_then_sections_in_order() -> None:
    text = printed(week(), 120)
    assert " ".join(text.split()).startswith("Rent 2 machines of 8 H200 for a year")
    lines = [line.strip() for line in text.splitlines()]
    places = [next(i for i, line in enumerate(lines) if line.startswith(heading)) for heading in HEADINGS]
    assert places == sorted(places)


def test_rentals_are_shown() -> None:
    text = printed(week(), 80)
    assert row(text, "on demand")[-4:] == ["792", "$5,627", "real", "time"]
    assert row(text, "reserved")[-3:] == ["2,688", "prepaid", "both"]
    assert row(text, "spot")[-3:] == ["168", "$418", "deferrable"]
    assert text.count(H200) == 1
    assert "on demand: $640.00 saved by savings plans" in text


def test_gpu_hours_scale_with_slot_length() -> None:
    half = msgspec.structs.replace(week(), slot_s=1800.0)
    assert [rental.gpu_hours for rental in rentals(week())] == ["2,688", "792", "168"]
    assert [rental.gpu_hours for rental in rentals(half)] == ["1,344", "396", "84"]


def test_commitments_and_savings_are_shown() -> None:
    text = " ".join(printed(week(), 120).split())
    assert f"2 machines of {RESERVED}" in text
    for said in (
        "breaks even at 66 % use", "used 81 %", "saves $5,904 alone, $4,870 with the rest",
        "1 now, 1 after 50 % of the term", "$12.50 an hour, $3.00 an hour already held of aws Compute Savings Plan",
    ):  # fmt: skip
        assert said in text


def test_blocks_state_their_start() -> None:
    block = msgspec.structs.replace(
        week().commitments[0], pricing_model="capacity_block", ladder=[], starts=[34, 10, 10]
    )
    dated = msgspec.structs.replace(week(), commitments=[block])
    assert commitments(dated)[0].steps == "from Mon 13 May 10:00, from Tue 14 May 10:00"
    assert commitments(dated)[0].terms == "1y, no upfront"
    day = msgspec.structs.replace(dated, commitments=[msgspec.structs.replace(block, term="24 slots")])
    assert commitments(day)[0].terms == "24 h, no upfront"
    undated = msgspec.structs.replace(dated, start_epoch_s=None)
    assert commitments(undated)[0].steps == "from 10 h after the start, from 34 h after the start"


def test_bought_tokens_are_shown_by_route() -> None:
    assert [(row.venue, row.workload, row.usd) for row in bought_tokens(week())] == [(TOKENS, "nightly", "$218.00")]
    none = [msgspec.structs.replace(route, flow=[0.0] * week().slots) for route in week().routes]
    assert bought_tokens(msgspec.structs.replace(week(), routes=none)) == []


def test_bounds_check_backtest_and_regret() -> None:
    text = " ".join(printed(week(), 100).split())
    for said in (
        "this plan is 1.2 % above it", "$22,079", "$13,630", "every promise is kept, after 3 rounds", "99.31 %",
        "1,402,118", "$26,340 at batch rates, $52,680 at standard rates",
        "limit 50 ms", "this advice 2 $7,666 $2,204", "median 3 $9,990 -$120",
        "50 % of this, the plan's commitments cost $3,550 too much", "between 31 % and 42 %",
        "nightly: up to 4 h; deferral saves $2,410; an hour more of patience is worth $118.00",
        "would save at most $31.40", "change with --spot-machines", "2026-11-18 · assumed",
    ):  # fmt: skip
        assert said in text


@pytest.mark.parametrize(("lost", "said"), [(0.0, "no other commitments would have been cheaper"), (3.0, "$3.00 too")])
def test_negligible_regret_is_stated(lost: float, said: str) -> None:
    found = CommitmentRegret(demand_share=0.5, usd=955.2, best_usd=955.2 - lost, usd_lost=lost)
    assert said in regret(msgspec.structs.replace(week(), commitment_regret=found))


def test_waterfall_ends_at_the_plan() -> None:
    fall = waterfall(week())
    assert fall is not None
    assert (fall.start, fall.end) == ("Real time", "This plan")
    assert walk(fall)[-2].to_usd == pytest.approx(week().total_usd, abs=0.01)
    assert waterfall(msgspec.structs.replace(week(), baseline_usd=None)) is None


def test_empty_fields_have_no_section() -> None:
    text = printed(bare(), 80)
    assert [heading for heading in HEADINGS if f"\n  {heading}" in text] == ["Rent", "Cost"]
    assert "None" not in text


def test_empty_plan_is_printed() -> None:
    nothing = msgspec.structs.replace(bare(), schedule=[], pools=[], by_pricing_model={}, slots=0)
    assert "Rent" not in printed(nothing, 80)


def test_reduced_backfill_is_stated_everywhere() -> None:
    plan = week()
    shares = [0.5, 0.9, *[1.0] * (plan.slots - 2)]
    pools = [msgspec.structs.replace(pool, backfill_shares=shares) for pool in plan.pools]
    fewer = msgspec.structs.replace(plan, pools=pools)
    said = f"ackfill on {H200} is reduced to 50 % to 90 % of its limits in 2 of {plan.slots} slots"
    assert said in " ".join(printed(fewer, 200).split())
    assert said in render_page(fewer)
    assert "of its limits in" not in printed(plan, 200)
    assert sum(schedule.pool == H200 and schedule.realtime for schedule in plan.schedule) > 0


def test_no_saving_is_stated() -> None:
    costly = msgspec.structs.replace(week(), saving_usd=-3.0, saving_share=-0.01)
    assert "Nothing is saved against real time (autoscaled to 134 requests" in printed(costly, 120)


def test_user_text_cannot_style_the_terminal() -> None:
    names = {H200: ATTACK}
    hostile = msgspec.structs.replace(
        week(),
        sentence=ATTACK,
        pools=[
            msgspec.structs.replace(pool, name=names.get(pool.name, pool.name), model=ATTACK) for pool in week().pools
        ],
        schedule=[
            msgspec.structs.replace(pool_schedule, pool=names.get(pool_schedule.pool, pool_schedule.pool))
            for pool_schedule in week().schedule
        ],
        commitments=[
            msgspec.structs.replace(commitment, name=ATTACK, term=ATTACK) for commitment in week().commitments
        ],
        workloads=[msgspec.structs.replace(workload, name=ATTACK) for workload in week().workloads],
        baseline=ATTACK,
        backtest=[msgspec.structs.replace(rule, commitment=ATTACK, rule=ATTACK) for rule in week().backtest],
        prices=[msgspec.structs.replace(price, what=ATTACK, source="http://[") for price in week().prices],
        warnings=[ATTACK],
    )
    for text in (printed(hostile, 120), simulated_text(hostile, broken(), label=ATTACK)):
        assert "\x1b" not in text
        assert "[red]x[/red]�[2J" in text


def test_other_trace_beside_the_plans_own() -> None:
    text = simulated_text(week(), broken())
    words = " ".join(text.split())
    assert words.startswith(
        "The plan does not hold on other.parquet: the SLO is kept for 97.10 % of real-time requests"
    )
    assert "12 deadlines are missed. It costs $24,001." in words
    assert row(text, "cost")[-2:] == ["$22,344", "$24,001"]
    assert row(text, "deadlines missed")[-2:] == ["0", "12"]
    assert "planned on servegen_deepseek_r1_sample.parquet" in words


def test_unchecked_plan_that_holds_says_so() -> None:
    kept = msgspec.structs.replace(broken(), kept=True, usd_by_pool={}, slo_attainment=None)
    text = simulated_text(bare(), kept)
    assert "The plan holds on other.parquet: every promise is kept." in text
    assert row(text, "SLO kept")[-2:] == ["\N{EN DASH}"] * 2
    assert "Paid by the hour" not in text


def test_plan_commitments_are_shown() -> None:
    plan = planfile.read_plan(FIRST_SCHEMA_PLAN)
    text = printed(plan, 80)
    bought = plan.commitments[0]
    assert f"{bought.amount:g} machine" in text
    assert bought.name in text
    assert bought.name in render_page(plan)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([0, 0], 8, "  "),
        ([0, 1, 8], 8, " ▂█"),
        ([4, 4, 4, 4], 2, "██"),
        ([8, 0, 0, 0, 0.001, 0], 3, "█ ▁"),
        ([1, 2], 0, ""),
    ],
)
def test_sparkline_shows_every_positive_value(values: list[float], width: int, drawn: str) -> None:
    assert plan_text.sparkline(values, width) == drawn


def test_short_rentals_have_hours() -> None:
    schedule = [msgspec.structs.replace(row, machines=[1, *[0] * (len(row.machines) - 1)]) for row in week().schedule]
    short = msgspec.structs.replace(week(), schedule=schedule, slot_s=60.0)
    gpus = {pool.name: pool.gpus for pool in short.pools}
    assert [row.gpu_hours for row in rentals(short)] == [f"{gpus[row.pool] / 60:.2g}" for row in rentals(short)]
