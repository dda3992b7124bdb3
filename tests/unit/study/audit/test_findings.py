"""One kind of finding at a time, on bills whose answer is plain arithmetic."""

from collections.abc import Callable
from itertools import chain

import pytest
from tests.samples.charges import endpoint, line, machine, reservation, tokens, traffic
from tests.unit.study.audit.conftest import only

from meritorder.findings import Audit
from meritorder.units import format_usd

Audited = Callable[..., Audit]
WEEKS = 26 * 24
MONTH = range(WEEKS)
PATIENT = {"latency_class": "deferrable"}


def kinds(answer: Audit) -> set[str]:
    return {finding.kind for finding in answer.findings}


def test_tokens_that_may_wait_cost_what_the_bill_paid_for_batch(audited: Audited) -> None:
    answer = audited(
        chain(
            tokens(MONTH, usd=3.0, thousands=1000, tags=PATIENT),
            tokens(MONTH, usd=1.2, thousands=1000, batch=True, tags=PATIENT),
            tokens(MONTH, usd=3.0, thousands=1000, tags={"latency_class": "interactive"}),
        )
    )
    found = only(answer, "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.8)
    assert found.confidence == "high"
    assert any("could have waited" in missing.question for missing in answer.missing_inputs)


def test_where_the_bill_bought_no_batch_the_rule_of_the_provider_holds(audited: Audited) -> None:
    found = only(audited(tokens(MONTH, usd=3.0, thousands=1000, tags=PATIENT)), "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.5)
    assert found.confidence == "medium"


def test_work_that_may_wait_could_run_on_spot_at_the_price_that_the_bill_paid(audited: Audited) -> None:
    answer = audited(
        chain(
            machine(MONTH, instance="g6e.12xlarge", usd=10.0, tags=PATIENT),
            machine(range(100), instance="g6e.12xlarge", usd=4.0, spot=True, tags=PATIENT, name="i-2"),
        )
    )
    found = only(answer, "spot_for_deferrable")
    # A machine in four is taken back in a month, which costs ten minutes: a little less than 6 an hour is saved.
    assert WEEKS * 5.99 < found.usd < WEEKS * 6
    assert "commitment_for_on_demand" not in kinds(answer)


def test_a_machine_that_always_runs_is_worth_a_commitment(audited: Audited) -> None:
    # The catalog's price of a year's reservation of g6e.12xlarge is below its on-demand price of 10.49264.
    answer = audited(machine(MONTH, instance="g6e.12xlarge", usd=10.49264, tags={"service": "chat"}))
    found = only(answer, "commitment_for_on_demand")
    price = next(price for price in answer.prices if price.pricing_model == "reserved")
    assert found.usd == pytest.approx(WEEKS * (10.49264 - price.usd))
    assert "chat" in found.evidence
    assert "meritorder plan requests.csv --model MODEL --bill bill.csv" in found.fix


def test_a_machine_that_seldom_runs_is_not(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = chain(
        machine(daytime, instance="g6e.12xlarge", usd=10.49264),
        machine(MONTH, instance="c7i.large", usd=0.1, tags={"workload": "inference"}),
    )
    assert "commitment_for_on_demand" not in kinds(audited(rows))


def test_the_hours_are_those_of_the_bill_and_not_of_the_machine(audited: Audited) -> None:
    tenth_day = range(10 * 24)
    other = [line("Usage", hour, 0.1, line_item_product_code="AmazonS3", line_item_usage_type="x") for hour in MONTH]
    year = {"line_item_usage_end_date": "2027-10-05T00:00:00Z", "line_item_usage_type": "ComputeSP:1yrAllUpfront"}
    upfront = line("SavingsPlanUpfrontFee", 0, 9.0, savings_plan_savings_plan_a_r_n="arn:x") | year
    rows = list(machine(tenth_day, instance="g6e.12xlarge", usd=10.49264))
    assert "commitment_for_on_demand" not in kinds(audited([*rows, *other]))
    assert only(audited([*rows, upfront]), "commitment_for_on_demand").usd > 0


def test_a_savings_plan_may_cover_a_part_of_a_machine(audited: Audited) -> None:
    plan = {"savings_plan_savings_plan_a_r_n": "arn:aws:savingsplans::1:savingsplan/a"}
    covered = [
        line(
            "SavingsPlanCoveredUsage",
            hour,
            5.504,
            line_item_usage_type="BoxUsage:p5.48xlarge",
            line_item_usage_amount=0.1,
            pricing_public_on_demand_cost=5.504,
            pricing_unit="Hrs",
            product_instance_type="p5.48xlarge",
            product_region_code="us-east-1",
            savings_plan_savings_plan_effective_cost=3.3024,
            **plan,
        )
        for hour in MONTH
    ]
    negated = [line("SavingsPlanNegation", hour, -5.504, **plan) for hour in MONTH]
    rows = chain(covered, negated, machine(MONTH, count=0.5, name="i-1"))
    found = only(audited(rows), "commitment_for_on_demand")
    assert found.usd == pytest.approx(WEEKS * 0.5 * (55.04 - 33.024))
    assert format_usd(0.5 * 33.024) in found.fix


def test_an_unused_reservation_is_on_the_wrong_family_where_others_run_on_demand(audited: Audited) -> None:
    unused = reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672)
    alone = audited(list(unused))
    assert only(alone, "unused_commitment").usd == pytest.approx(300 * 3.5)
    beside = audited(
        chain(reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672), machine(range(50)))
    )
    found = only(beside, "commitment_wrong_family")
    assert found.usd == pytest.approx(300 * 3.5)
    assert "g5.12xlarge" in found.title


def test_a_price_above_the_list_is_told(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    found = only(audited(machine(daytime, usd=60.0)), "above_list_price")
    assert found.usd == pytest.approx(len(daytime) * (60 - 55.04))


def test_a_cheaper_region_of_the_same_part_of_the_world_is_told_with_low_confidence(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=37.6223, region="ap-northeast-1")
    found = only(audited(rows), "cheaper_region")
    assert found.confidence == "low"
    assert "ap-southeast-1" in found.title
    assert found.usd == pytest.approx(len(daytime) * (37.6223 - 32.93646))


def test_an_older_generation_is_told_where_whole_successors_cost_less(audited: Audited) -> None:
    daytime = [hour for hour in MONTH if hour % 24 < 12]
    rows = machine(daytime, instance="p4de.24xlarge", usd=27.44705, count=8)
    answer = audited(rows)
    found = only(answer, "old_generation")
    new = next(price for price in answer.prices if price.used_for == "a newer generation")
    # A whole number of successors in each hour, fewer than the eight that they replace.
    machines = (8 * 27.44705 - found.usd / len(daytime)) / new.usd
    assert machines == pytest.approx(round(machines))
    assert 1 <= machines < 8
    assert "step times" in found.evidence


def test_what_is_no_production_need_not_run_at_night(audited: Audited) -> None:
    rows = machine(MONTH, instance="g5.2xlarge", usd=1.212, tags={"environment": "staging"})
    found = only(audited(rows), "non_production_hours")
    outside = sum(1 for hour in MONTH if not (hour // 24 % 7 < 5 and 8 <= hour % 24 < 20))
    assert found.usd == pytest.approx(outside * 1.212)


def test_what_runs_in_working_hours_only_is_left_alone(audited: Audited) -> None:
    working = [hour for hour in MONTH if hour // 24 % 7 < 5 and 7 <= hour % 24 < 21]
    rows = machine(working, instance="g5.2xlarge", usd=1.212, tags={"environment": "staging"})
    assert "non_production_hours" not in kinds(audited(rows))


def test_machines_that_never_scale_are_held_against_the_shape_of_the_tokens(audited: Audited) -> None:
    def hour_of(hour: int) -> float:
        return 100.0 if hour % 24 in {9, 10, 11} else 10.0

    load = [row for hour in MONTH for row in tokens([hour], usd=hour_of(hour), thousands=1000)]
    fleet = list(machine(MONTH, instance="g5.2xlarge", usd=1.212, count=10))
    answer = audited(chain(load, fleet))
    found = only(answer, "over_provisioned")
    # A tenth of the peak at four fifths of what they can do: two of the ten.
    assert found.usd == pytest.approx(WEEKS * 21 / 24 * 8 * 1.212)
    assert found.confidence == "low"
    assert "real-time tokens" in found.evidence
    assert any(missing.option.startswith("--trace") for missing in answer.missing_inputs)
    scaling = machine([hour for hour in MONTH if hour_of(hour) > 50], instance="g5.2xlarge", usd=1.212, name="i-2")
    assert "over_provisioned" not in kinds(audited(chain(load, fleet, scaling)))
    assert "over_provisioned" not in kinds(audited(fleet)), "no load is known"


def test_an_endpoint_without_data_in_or_out_is_called_by_nobody(audited: Audited) -> None:
    called = chain(endpoint(MONTH, name="arn:endpoint/chat"), traffic(MONTH, name="arn:endpoint/chat"))
    forgotten = chain(endpoint(MONTH, name="arn:endpoint/demo"), traffic(range(24), name="arn:endpoint/demo"))
    answer = audited(chain(called, forgotten, endpoint(MONTH, name="arn:endpoint/never")))
    found = only(answer, "idle_capacity")
    assert found.usd == pytest.approx((WEEKS - 24 + WEEKS) * 1.5)
    assert "demo, never" in found.title
    alone = audited(endpoint(MONTH, name="arn:endpoint/never"))
    assert "idle_capacity" not in kinds(alone), "a bill without lines of data tells nothing of who is called"


def test_discounts_of_their_own_line_lower_what_can_be_saved(audited: Audited) -> None:
    rows = list(tokens(MONTH, usd=3.0, thousands=1000, tags=PATIENT))
    discount = line(
        "EdpDiscount", 0, -0.2 * 3 * WEEKS, line_item_product_code="AmazonBedrock", line_item_usage_type="x"
    )
    found = only(audited([*rows, discount]), "tokens_could_wait")
    assert found.usd == pytest.approx(WEEKS * 1.5 * 0.8)


def test_a_month_is_the_mean_of_the_months(audited: Audited) -> None:
    two = [row | {"bill_billing_period_start_date": "2026-09-01T00:00:00Z"} for row in machine(range(300))]
    rows = chain(two, machine(range(300, 600), name="i-2"))
    answer = audited(chain(rows, reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672)))
    found = only(answer, "commitment_wrong_family")
    assert answer.bill.months == 2
    assert found.usd_per_month == pytest.approx(found.usd / 2)
    assert any("mean of the 2" in each.text for each in answer.assumptions)


def test_what_cannot_be_known_is_asked_for_by_name(audited: Audited) -> None:
    answer = audited(machine(MONTH))
    assert answer.missing_inputs[0].option == "--trace requests.csv or --metrics gpu.csv"
    assert answer.missing_inputs[0].usd_per_month == pytest.approx(WEEKS * 55.04)
    assert any("commitment to p5.48xlarge" in missing.question for missing in answer.missing_inputs)


def test_a_bill_without_inference_says_so(audited: Audited) -> None:
    answer = audited([line("Usage", 0, 5.0, line_item_product_code="AmazonS3", line_item_usage_type="Storage")])
    assert (answer.inference_usd, answer.findings, answer.effective_savings_rate) == (0.0, [], None)
    assert "--select" in answer.sentence
