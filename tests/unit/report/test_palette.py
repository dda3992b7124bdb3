from meritorder.report.palette import PRICING, pricing_kind


def test_every_way_to_pay_has_a_color_and_what_is_unknown_is_grey() -> None:
    known = ("owned", "reserved", "committed_use", "capacity_block", "savings_plan", "on_demand", "spot", "tokens_flex")
    assert {pricing_kind(name) for name in known} == set(PRICING)
    assert pricing_kind("carbon") == "idle"
