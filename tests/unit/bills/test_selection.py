"""Which charges are inference."""

import shlex
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills import selection
from meritorder.errors import BillError

Write = Callable[..., Path]


def kind(groups_of: Path, **options: object) -> str | None:
    (value,) = bills.read(groups_of, **options).groups["kind"].to_list()  # type: ignore[arg-type]
    return None if value is None else str(value)


@pytest.mark.parametrize(
    ("usage_type", "instance_type", "expected"),
    [
        ("BoxUsage:p5.48xlarge", "p5.48xlarge", "accelerator"),
        ("USW2-BoxUsage:p6-b200.48xlarge", None, "accelerator"),
        ("BoxUsage:g6e.12xlarge", "g6e.12xlarge", "accelerator"),
        ("BoxUsage:trn2.48xlarge", "trn2.48xlarge", "accelerator"),
        ("BoxUsage:inf2.xlarge", None, "accelerator"),
        ("BoxUsage:m7i.large", "m7i.large", None),
        ("BoxUsage:gd.large", None, None),
        ("USE1-Host:ml.g5.xlarge", "ml.g5.xlarge", "endpoint"),
        ("USE1-Host:ml.m5.xlarge", "ml.m5.xlarge", "endpoint"),
        ("USE1-Train:ml.p4d.24xlarge", "ml.p4d.24xlarge", None),
        ("USE1-Claude4.5Sonnet-input-tokens", None, "tokens"),
        ("USE1-ProvisionedThroughput-ModelUnit", None, "throughput"),
        ("USE1-DataTransfer-Out-Bytes", None, None),
    ],
)
def test_amazon_usage_types_are_classified(
    cur: Write, usage_type: str, instance_type: str | None, expected: str | None
) -> None:
    row = {
        "line_item_usage_type": usage_type,
        "product_instance_type": instance_type,
        "line_item_unblended_cost": "1",
    }
    assert kind(cur(row)) == expected


@pytest.mark.parametrize(
    ("usage_type", "model", "tier", "token_type"),
    [
        ("USE1-Claude4.5Sonnet-input-tokens", "Claude4.5Sonnet", "standard", "input"),
        ("USE1-Claude4.5Sonnet-output-tokens-batch", "Claude4.5Sonnet", "batch", "output"),
        ("USE1-Claude4.5Sonnet-cache-read-input-token-count", "Claude4.5Sonnet", "standard", "cached_input"),
        ("USE1-Claude4.5Sonnet-cache-write-input-token-count", "Claude4.5Sonnet", "standard", "cache_write"),
        ("USE1-NovaPro-output-tokens-flex", "NovaPro", "flex", "output"),
        ("USE1-NovaPro-input-tokens-priority", "NovaPro", "priority", "input"),
        ("EUC1-Nova2.0Lite-mantle-input-tokens-standard", "Nova2.0Lite", "standard", "input"),
    ],
)
def test_bedrock_usage_names_its_tokens(cur: Write, usage_type: str, model: str, tier: str, token_type: str) -> None:
    row = {
        "line_item_usage_type": usage_type,
        "line_item_product_code": "AmazonBedrock",
        "product_instance_type": None,
    }
    groups = bills.read(cur(row | {"line_item_operation": None, "line_item_unblended_cost": "1"})).groups
    assert groups.select("model", "tier", "token_type", "purchase").row(0) == (
        model,
        tier,
        token_type,
        "tokens",
    )


def test_models_sold_through_the_marketplace(focus: Write) -> None:
    row = {
        "SkuMeter": "MP:USE1_InputTokenCount-Units",
        "ServiceName": "Claude Sonnet 4 (Amazon Bedrock Edition)",
    }
    groups = bills.read(focus(row | {"SkuId": "prod-1", "BilledCost": "1", "EffectiveCost": "1"})).groups
    assert groups.select("kind", "model", "token_type").row(0) == ("tokens", "Claude Sonnet 4", "input")


def test_tags_and_the_users_choice(cur: Write) -> None:
    cpu = {
        "line_item_usage_type": "BoxUsage:c7i.large",
        "product_instance_type": "c7i.large",
        "line_item_unblended_cost": "1",
    }
    path = cur(cpu | {"resource_tags": '{"user_team": "Search", "user_workload": "other"}'})
    assert kind(path) is None
    assert kind(path, select=[("tag:team", "sea*")]) == "selected"
    assert kind(path, select=[("resource", "i-?")]) == "selected"
    assert kind(path, select=[("account", "5*"), ("instance_type", "c7i.*")]) == "selected"
    assert kind(path, select=[("account", "5*")]) is None
    assert kind(cur(cpu | {"resource_tags": '{"workload": "llm-serving"}'})) == "tagged"
    with pytest.raises(BillError, match="no column color to select by"):
        bills.read(path, select=[("color", "red")])


def test_plan_is_inference_by_majority(cur: Write) -> None:
    plan = {"savings_plan_savings_plan_a_r_n": "arn"}
    covered = plan | {"line_item_line_item_type": "SavingsPlanCoveredUsage"}
    gpu = covered | {"savings_plan_savings_plan_effective_cost": "6"}
    cpu = covered | {
        "savings_plan_savings_plan_effective_cost": "3",
        "line_item_usage_type": "BoxUsage:m7i.large",
        "product_instance_type": "m7i.large",
    }
    fee = plan | {
        "line_item_line_item_type": "SavingsPlanRecurringFee",
        "line_item_usage_type": "ComputeSP:1yrNoUpfront",
        "product_instance_type": None,
        "savings_plan_total_commitment_to_date": "10",
        "savings_plan_used_commitment": "9",
    }

    def kinds(*rows: dict[str, str | None]) -> dict[str, str | None]:
        return dict(bills.read(cur(*rows)).groups.select("sku", "kind").rows())

    assert kinds(gpu, cpu, fee)["ComputeSP:1yrNoUpfront"] == "commitment"
    assert kinds(gpu, cpu | {"savings_plan_savings_plan_effective_cost": "7"}, fee)["ComputeSP:1yrNoUpfront"] is None
    assert kinds(fee)["ComputeSP:1yrNoUpfront"] is None


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('{"user:Team": "llm", "n": 3, "gone": null}', {"user:team": "llm", "team": "llm", "n": "3"}),
        ('{"pairs":[{"key":"user_team","value":"llm"}]}', {"user_team": "llm", "team": "llm"}),
        ('{"pairs":[{"key":"team"},{"value":"llm"},{"key":null},null,{"key":"app","value":"chat"}]}', {"app": "chat"}),
        ('{"pairs":null}', {}),
        ("not json", {}),
        ("[1]", {}),
        (None, {}),
    ],
)
def test_tags_in_every_form(text: str | None, pairs: dict[str, str]) -> None:
    assert selection.tag_pairs(text) == pairs


@pytest.mark.parametrize(("category", "expected"), [("Tax", None), ("Credit", "accelerator"), ("Usage", "accelerator")])
def test_taxes_are_no_inference(focus: Write, category: str, expected: str | None) -> None:
    """A credit for a machine lowers the cost of inference; a tax on it is none of its costs."""
    assert kind(focus({"ChargeCategory": category, "BilledCost": "-1", "x_SkuInstanceType": "p5.48xlarge"})) == expected


def test_every_rule_has_a_source() -> None:
    assert all(rule["source"] for rules in selection.rules().values() for rule in rules)


@pytest.mark.parametrize(
    ("meter", "model"),
    [
        ("Gemini 2.5 Flash Text Input - Predictions", "Gemini 2.5 Flash"),
        ("Gemini 2.5 Flash-Lite Text Output - Predictions", "Gemini 2.5 Flash-Lite"),
        ("gpt-4o-mini-0718-Inp-glbl Tokens", "gpt-4o-mini"),
        ("gpt 4.1 nano outp glbl Tokens", "gpt 4.1 nano"),
        ("Claude Sonnet 4.5 Input Tokens Vertex AI", "Claude Sonnet 4.5"),
    ],
)
def test_token_meter_names_its_model(focus: Write, meter: str, model: str) -> None:
    bill = bills.read(focus({"ServiceName": "AI", "ChargeDescription": meter, "SkuId": None, "BilledCost": "1"}))
    assert bill.groups.select("kind", "model").row(0) == ("tokens", model)


def test_only_text_columns_can_be_selected(cur: Write) -> None:
    path = cur({"line_item_unblended_cost": "1"})
    with pytest.raises(BillError, match="no column billed_usd to select by") as caught:
        bills.read(path, select=[("billed_usd", "1")])
    assert "instance_type" in str(caught.value.fix)
    assert "quantity" not in str(caught.value.fix)


@pytest.mark.parametrize(("inference", "kind_of_fee"), [("5", "commitment"), ("4.99", None)])
def test_half_a_plan_is_inference(cur: Write, inference: str, kind_of_fee: str | None) -> None:
    plan = {"savings_plan_savings_plan_a_r_n": "arn"}
    covered = plan | {"line_item_line_item_type": "SavingsPlanCoveredUsage"}
    cpu = {"line_item_usage_type": "BoxUsage:m7i.large", "product_instance_type": None}
    groups = bills.read(
        cur(
            covered | {"savings_plan_savings_plan_effective_cost": inference},
            covered | cpu | {"savings_plan_savings_plan_effective_cost": "5"},
            plan
            | {
                "line_item_line_item_type": "SavingsPlanRecurringFee",
                "line_item_usage_type": "ComputeSP",
                "product_instance_type": None,
                "savings_plan_total_commitment_to_date": "20",
                "savings_plan_used_commitment": "10",
            },
        )
    ).groups
    assert dict(groups.select("sku", "kind").rows())["ComputeSP"] == kind_of_fee


@pytest.mark.parametrize(
    ("instance", "family"),
    [
        ("ml.p5.48xlarge", "p5"),
        ("p5.48xlarge", "p5"),
        ("a3-highgpu-8g", "a3"),
        ("Standard_ND96isr_v5", "Standard_ND"),
    ],
)
def test_instance_family_is_recognized(focus: Write, instance: str, family: str) -> None:
    bill = bills.read(focus({"BilledCost": "1", "x_SkuInstanceType": instance, "SkuId": None}))
    assert bill.groups["instance_family"].to_list() == [family]


def test_kinds_of_commitment_charges() -> None:
    """Fees are inference where half or more of what was covered is; what was covered keeps its kind."""
    plan = "savings_plan"
    rows = [
        # commitment, purchase, unused, cost, kind, expected kind
        ("a", plan, False, 0.5, "accelerator", "accelerator"),
        ("a", plan, False, 0.5, None, None),
        ("a", plan, True, 9.0, None, "commitment"),
        ("a", plan, False, 0.0, None, "commitment"),
        ("a", plan, True, 9.0, "tagged", "tagged"),
        ("a", "tax", False, 0.0, None, None),
        ("b", plan, False, 5.0, None, None),
        ("b", plan, True, 100.0, "tagged", "tagged"),
        ("b", plan, True, 1.0, None, None),
        ("c", plan, False, 0.0, "accelerator", "accelerator"),
        ("c", plan, True, 3.0, None, None),
        ("d", plan, False, 5.0, None, None),
        ("d", "on_demand", False, 100.0, "accelerator", "accelerator"),
        ("d", plan, True, 1.0, None, None),
        (None, plan, False, 5.0, "accelerator", "accelerator"),
        (None, plan, True, 1.0, None, None),
    ]
    names = ["commitment", "purchase", "unused", "amortised_usd", "kind", "expected"]
    groups = pl.DataFrame(rows, schema=names, orient="row")
    assert selection.classify_commitments(groups)["kind"].to_list() == groups["expected"].to_list()


def test_absent_values_match_no_selector() -> None:
    frame = pl.DataFrame({"account": [None, "a", "b"]})
    matches = selection.matches_selectors(frame, [("account", "A"), ("account", "x")])
    assert frame.select(m=matches)["m"].to_list() == [False, True, False]


def test_patience_needs_key_and_value() -> None:
    tags = ['{"latency_class": "deferrable"}', '{"latency_class": "interactive"}', '{"color": "deferrable"}', None]
    assert pl.DataFrame({"tags": tags}).select(w=selection.may_wait())["w"].to_list() == [True, False, False, False]


def classified(path: Path, **options: object) -> list[tuple[str | None, str]]:
    """Return kind and purchase option of each group."""
    return bills.read(path, **options).groups.select("kind", "purchase").rows()  # type: ignore[arg-type]


MACHINE = {"BilledCost": "10", "EffectiveCost": "10", "ListCost": "10", "x_SkuInstanceType": "p5.48xlarge"}


@pytest.mark.parametrize(
    ("service", "meter", "expected"),
    [
        (
            "OCI Generative AI",
            "Oracle Cloud Infrastructure Generative AI - Large Cohere - 10,000 Transactions",
            "tokens",
        ),
        ("Generative AI", "OCI Generative AI - Dedicated AI Cluster - AI Unit Per Hour", "throughput"),
        ("Vertex AI", "Claude Sonnet 4.5 - Output Tokens", "tokens"),
        ("Vertex AI", "Online Prediction A2 Instance Core running in Americas", "endpoint"),
        ("Vertex AI", "Vertex AI: Training/Pipelines on Nvidia H100 80GB GPU in us-central1", None),
        ("Vertex AI", "Provisioned throughput GSU 1 month", "throughput"),
        ("Azure AI Foundry", "Mistral Large 3 Inference", "endpoint"),
        ("Azure AI Search", "Standard S1 Unit", None),
        ("Cognitive Services", "Provisioned Managed Global PTU Hours", "throughput"),
        ("Amazon Bedrock", "Guardrails content filter units", "endpoint"),
    ],
)
def test_services_of_models_are_inference(focus: Write, service: str, meter: str, expected: str | None) -> None:
    path = focus({"ServiceName": service, "SkuId": "sku", "x_SkuDescription": meter, "ConsumedUnit": "Units"})
    assert kind(path) == expected


def test_model_units_are_no_machine_hours(focus: Write) -> None:
    """744 hours of two model units at $20 say nothing of what machines would cost on demand."""
    units = {
        "ServiceName": "Amazon Bedrock",
        "SkuId": "USE1-ProvisionedThroughput-ModelUnits",
        "ConsumedQuantity": "1488",
        "BilledCost": "29760",
        "EffectiveCost": "29760",
        "ListCost": "29760",
    }
    figures = bills.compute_figures(bills.read(focus(units, MACHINE)).groups)
    assert (figures.amortised_usd, figures.on_demand_equivalent_usd, figures.on_demand_usd) == (29770, 10, 10)


@pytest.mark.parametrize(
    ("meter", "unit", "purchase"),
    [
        ("ProvisionedThroughput-ModelUnits-1Month", "Hours", "reserved"),
        ("ProvisionedThroughput-ModelUnits", "Hours", "on_demand"),
        ("ProvisionedThroughput-ModelUnits-NoCommit", "Hours", "on_demand"),
        ("8x H100 node, 1-month commitment", "Hours", "reserved"),
        ("8x H100 node, 3 month term", "Hours", "reserved"),
        ("8x H100 node hours", "Hours", "on_demand"),
        ("8x H100 node hours", "Months", "reserved"),
        ("8x H100 node hours", "GB-Months", "on_demand"),
    ],
)
def test_month_long_terms_are_not_on_demand(focus: Write, meter: str, unit: str, purchase: str) -> None:
    row = {"ServiceName": "GPU cloud", "SkuId": meter, "ConsumedUnit": unit, "BilledCost": "9", "EffectiveCost": "9"}
    [(_, found)] = classified(focus(row))
    assert found == purchase


@pytest.mark.parametrize(
    ("tags", "resource", "expected"),
    [
        ('{"workload": "training"}', "i-1", None),
        ('{"Name": "sft-notebook-2"}', "i-1", None),
        ('{"eks:nodegroup-name": "github-runners"}', "i-1", None),
        ('{"queue": "ci"}', "i-1", None),
        (None, "/subscriptions/s/virtualMachines/train-h100-04", None),
        (None, "projects/p/instances/jupyter-ann", None),
        ('{"workload": "inference", "Name": "training-assistant"}', "i-1", "accelerator"),
        ('{"service": "rag-answers"}', "i-1", "accelerator"),
        ('{"service": "constraint-solver"}', "vm-strain-1", "accelerator"),
        ('{"team": "training"}', "i-1", "accelerator"),
    ],
)
def test_training_machines_are_not_inference(
    focus: Write, tags: str | None, resource: str, expected: str | None
) -> None:
    path = focus(MACHINE | {"Tags": tags, "ResourceId": resource})
    assert kind(path) == expected
    assumptions = bills.read(path).report.assumptions
    assert len(assumptions) == (expected is None)
    if assumptions:
        option, _, selector = assumptions[0].option.partition(" ")
        column, _, value = shlex.split(selector)[0].partition("=")
        assert (option, kind(path, select=[(column, value)])) == ("--select", "selected")
        assert "$10.00 of p5.48xlarge is training, notebooks or builds by" in assumptions[0].text


def test_instance_named_for_a_notebook(focus: Write) -> None:
    assert kind(focus(MACHINE | {"x_SkuInstanceType": "1x A10 notebook"})) is None


def test_gateway_of_vercel_sells_tokens(focus: Write) -> None:
    assert kind(focus({"ProviderName": "Vercel", "ServiceName": "AI Gateway"})) == "tokens"


def test_units_speak_for_their_own_provider(tmp_path: Path) -> None:
    """Hours of our own export are those of machines; storage that another seller counts in hours is not."""
    path = tmp_path / "invoice.csv"
    path.write_text("Day,Product,Hours,Net\n2026-10-01,Persistent storage,24,3.10\n")
    named = {"start": "Day", "instance": "Product", "hours": "Hours", "cost": "Net"}
    assert bills.read(path, columns=named).groups["kind"].to_list() == [None]
