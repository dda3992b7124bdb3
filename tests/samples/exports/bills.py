"""Exports of bills of 48 dollars."""

import gzip
from typing import Final

from tests.samples.exports.forms import Record, document, lines, table

BILL_USD: Final = 48
_DAYS: Final = ("2026-10-01", "2026-10-02", "2026-10-03")

_USD: Final = BILL_USD / 2


def _daily(header: str, *cells: object) -> bytes:
    """Return a bill of two days; `START`, `END` and `USD` among the cells stand for the days and the amount."""
    values = ({"START": _DAYS[day], "END": _DAYS[day + 1], "USD": _USD, "ID": f"id-{day}"} for day in range(2))
    return table(header, ([day.get(str(cell), cell) for cell in cells] for day in values))


def _buckets(*results: Record) -> bytes:
    days = ({"starting_at": f"{_DAYS[day]}T00:00:00Z", "ending_at": f"{_DAYS[day + 1]}T00:00:00Z"} for day in range(2))
    return document({"data": [day | {"results": results} for day in days], "has_more": False, "next_page": None})


def _cur() -> bytes:
    hours = [f"{_DAYS[0]}T{hour:02}:00:00Z" for hour in range(3)]
    header = (
        "identity_line_item_id,identity_time_interval,bill_payer_account_id,bill_billing_period_start_date,"
        "bill_billing_period_end_date,line_item_usage_account_id,line_item_line_item_type,line_item_usage_start_date,"
        "line_item_usage_end_date,line_item_product_code,line_item_usage_type,line_item_operation,line_item_usage_amount,"
        "line_item_currency_code,line_item_unblended_cost,line_item_line_item_description,product_instance_type"
    )
    rows = (
        (
            *(f"l{hour}", hours[hour], "1", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", "1", "Usage"),
            *(hours[hour], hours[hour + 1], "AmazonEC2", "USE1-BoxUsage:p5.48xlarge", "RunInstances", 1, "USD", _USD),
            *("p5.48xlarge", "p5.48xlarge"),
        )
        for hour in range(2)
    )
    return table(header, rows)


_COST: Final = {
    "amount": "2400",
    "currency": "USD",
    "cost_type": "tokens",
    "model": "claude-sonnet-4-5",
    "service_tier": "standard",
    "token_type": "output_tokens",
    "workspace_id": "w",
    "description": "Claude Sonnet 4.5 Usage - Output Tokens",
}

BILLS: Final[dict[str, bytes]] = {
    "AWS |": _cur(),
    "Alibaba": _daily(
        "BillingCycle,ProductName,ProductDetail,UsageStartTime,InstanceID,InstanceSpec,PretaxGrossAmount,PretaxAmount,Currency",
        *("2026-10", "Elastic Compute Service", "ECS", "START", "ID", "ecs.gn7e-c16g1.16xlarge", "USD", "USD", "usd"),
    ),
    "AWS, console": table(
        "Usage type,USE1-BoxUsage:p5.48xlarge($),USE1-BoxUsage:m6i.large($),Total costs($)",
        [["Usage type total", 40, 8, 48], [_DAYS[0], 20, 4, 24], [_DAYS[1], 20, 4, 24]],
    ),
    "AWS, command line": document(
        {
            "GroupDefinitions": [{"Type": "DIMENSION", "Key": "SERVICE"}],
            "ResultsByTime": [
                {
                    "TimePeriod": {"Start": _DAYS[day], "End": _DAYS[day + 1]},
                    "Total": {},
                    "Groups": [
                        {
                            "Keys": ["Amazon SageMaker"],
                            "Metrics": {"UnblendedCost": {"Amount": str(_USD), "Unit": "USD"}},
                        }
                    ],
                    "Estimated": False,
                }
                for day in range(2)
            ],
        }
    ),
    "Anthropic, OpenAI": _buckets(_COST),
    "Azure": _daily(
        "date,meterCategory,meterName,ProductName,chargeType,pricingModel,quantity,unitOfMeasure,costInBillingCurrency,"
        "billingCurrency,resourceLocation,ResourceId",
        *("START", "Virtual Machines", "ND96isr H100 v5", "Virtual Machines", "Usage", "OnDemand", 1, "1 Hour", "USD"),
        *("usd", "eastus", "ID"),
    ),
    "CloudZero": table("Service,2026-10,2026-11", [["Bedrock", 20, 24], ["S3", 1, 3]]),
    "CoreWeave": _daily("Period,Resource,Total", "START", "8x H100 SXM", "USD"),
    "Google Cloud": lines(
        {
            "billing_account_id": "01",
            "service": {"description": "Compute Engine"},
            "sku": {"description": "A3 Nvidia H100 80GB GPU running in Iowa"},
            "usage_start_time": f"{_DAYS[day]}T00:00:00Z",
            "usage_end_time": f"{_DAYS[day]}T01:00:00Z",
            "project": {"id": "chat"},
            "cost": _USD,
            "currency": "USD",
            "credits": [],
            "usage": {"amount": 3600, "unit": "seconds"},
        }
        for day in range(2)
    ),
    "Kubecost": _daily(
        "Name,Cluster,Node,StartTime,EndTime,CPUCost,GPUHours,GPUCost,RAMCost,PVCost,TotalCost",
        *("ID", "c", "n", "START", "END", 3, 24, 20, 1, 0, "USD"),
    ),
    "Lambda": _daily("Start,End,Amount,Instance type,Hours", "START", "END", "USD", "gpu_8x_h100_sxm5", 1),
    "ccusage": document(
        {
            "daily": [
                {
                    "date": _DAYS[day],
                    "inputTokens": 10,
                    "outputTokens": 500,
                    "cacheReadTokens": 9_000,
                    "totalTokens": 9_510,
                    "totalCost": _USD,
                    "modelsUsed": ["claude-sonnet-4-5"],
                }
                for day in range(2)
            ],
            "totals": {"totalCost": BILL_USD},
        }
    ),
    "Cursor": _daily(
        "Date,Kind,Model,Input (w/ Cache Write),Input (w/o Cache Write),Cache Read,Output Tokens,Total Tokens,Cost",
        *("START", "On-Demand", "claude-4.5-sonnet", 100, 10, 900, 50, 1_060, "USD"),
    ),
    "Databricks": _daily(
        "usage_start_time,usage_end_time,sku_name,usage_quantity,usage_unit,billing_origin_product,list_cost",
        *("START", "END", "ENTERPRISE_SERVERLESS_REAL_TIME_INFERENCE", 100, "DBU", "MODEL_SERVING", "USD"),
    ),
    "LiteLLM, daily": _daily(
        "id,user_id,date,model,custom_llm_provider,prompt_tokens,completion_tokens,spend,api_requests",
        *("ID", "u", "START", "gpt-4o", "openai", 20, 10, "USD", 3),
    ),
    "LiteLLM |": table(
        "request_id,call_type,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model,custom_llm_provider",
        (
            (
                f"r{day}",
                "acompletion",
                _USD,
                30,
                20,
                10,
                f"{_DAYS[day]} 09:00:00",
                f"{_DAYS[day]} 09:00:02",
                "gpt-4o",
                "openai",
            )
            for day in range(2)
        ),
    ),
    "OpenRouter": table(
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug,provider_name",
        ((f"g{day}", f"{_DAYS[day]} 09:00:00.000", _USD, 900, 100, "qwen/qwen3-32b", "DeepInfra") for day in range(2)),
    ),
    "Oracle": gzip.compress(
        _daily(
            "lineItem/referenceNo,lineItem/intervalUsageStart,lineItem/intervalUsageEnd,product/service,product/Description,"
            "product/resourceId,usage/billedQuantity,cost/currencyCode,cost/myCost",
            *("ID", "START", "END", "COMPUTE", "GPU.H100 - GPU Hour", "o", 8, "usd", "USD"),
        )
    ),
    "RunPod": document(
        [
            {
                "time": f"{_DAYS[day]} 00:00:00",
                "amount": _USD,
                "timeBilledMs": 3_600_000,
                "gpuTypeId": "NVIDIA H100 80GB HBM3",
                "podId": "p",
            }
            for day in range(2)
        ]
    ),
    "DigitalOcean": _daily(
        "product,group_description,description,hours,start,end,USD,project_name,category",
        *("GPU Droplets", "", "chat (gpu-h100x1-80gb)", 24, "START", "END", "USD", "chat", "iaas"),
    ),
    "Snowflake": _daily(
        "ORGANIZATION_NAME,ACCOUNT_NAME,USAGE_DATE,USAGE_TYPE,CURRENCY,USAGE,USAGE_IN_CURRENCY,SERVICE_TYPE",
        *("O", "A", "START", "ai services", "usd", 10, "USD", "AI_SERVICES"),
    ),
}
"""By the beginning of the row of the page."""
