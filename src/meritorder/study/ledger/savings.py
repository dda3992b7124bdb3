"""A saving by the groups of a ledger.

    saved = real time alone * tokens of the group / tokens on machines - machines of the group

where an output token counts as `OUTPUT_WEIGHT` input tokens. What belongs to no request, such as idle time, has a row
of its own, so that the rows sum to the saving.
"""

from dataclasses import replace
from decimal import Decimal

import msgspec
import polars as pl

from meritorder.records.accounting import OUTPUT_WEIGHT, CostRow, LedgerReport, Use
from meritorder.study.ledger.costing import CostedLedger
from meritorder.study.ledger.summary import ended_attempts, group_rows, is_final
from meritorder.units import PICOUSD_PER_USD, exact_usd


def share_saving(report: LedgerReport, costed: CostedLedger, saved_usd: Decimal) -> tuple[CostRow, ...]:
    """Return the rows of a report, each with its part of the saving."""
    if not report.rows:
        return ()
    names = tuple(report.rows[0].by)
    machines = replace(costed, costs=costed.costs.filter(pl.col("use") != Use.TOKENS))
    answered = ended_attempts(costed).filter(is_final() & (pl.col("use") == Use.BUSY))
    by_group = {tuple(row.by.values()): row for row in group_rows(machines, answered, names)}
    weights = {group: row.input_tokens + OUTPUT_WEIGHT * row.output_tokens for group, row in by_group.items()}
    paid_usd = sum((row.paid_usd for row in by_group.values()), Decimal(0))
    alone = dict(zip(weights, _split(paid_usd + saved_usd, list(weights.values())), strict=True))
    return tuple(
        msgspec.structs.replace(
            row, saved_usd=alone[group] - by_group[group].paid_usd if group in alone else Decimal(0)
        )
        for row in report.rows
        for group in [tuple(row.by.values())]
    )


def _split(usd: Decimal, weights: list[float]) -> list[Decimal]:
    """Split an amount by weights, to whole picodollars that sum to it."""
    total, picousd = sum(weights) or 1.0, int(usd * PICOUSD_PER_USD)
    passed, begun, parts = 0, 0.0, []
    for weight in weights:
        begun += weight
        until = int(picousd * (begun / total))
        parts.append(exact_usd(until - passed))
        passed = until
    return parts
