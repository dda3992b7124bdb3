from meritorder.report.palette import PRICING, pricing_kind


def test_every_pricing_model_has_color() -> None:
    known = ("owned", "reserved", "committed_use", "capacity_block", "savings_plan", "on_demand", "spot", "tokens_flex")
    assert {pricing_kind(name) for name in known} == set(PRICING)
    assert pricing_kind("carbon") == "idle"
