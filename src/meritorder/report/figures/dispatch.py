"""A plan over time: what is paid for, and the work under it, where it ran and where it arrived."""

from collections.abc import Sequence
from typing import Final

import altair as alt

from meritorder.planfile import Dispatch, Plan
from meritorder.report.figures.clock import Clock
from meritorder.report.figures.frame import Rows, colours, figure
from meritorder.report.figures.pointer import pointer, with_ends
from meritorder.report.palette import LIGHT, PRICING, Palette, pricing_kind

_LANES: Final = ("realtime", "deferrable")
_HEIGHT: Final = 190


def paid(plan: Plan, dispatch: Dispatch, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw the GPUs paid for, stacked by pricing model, over the work that they do."""
    columns: dict[str, list[float]] = {}
    for model, gpus in dispatch.paid_gpus.items():
        before = columns.get(pricing_kind(model), [0.0] * len(gpus))
        columns[pricing_kind(model)] = [a + b for a, b in zip(before, gpus, strict=True)]
    kinds = [kind for kind in (*PRICING, "idle") if kind in columns]
    work = [a + b for a, b in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)]
    told = {kind: kind.replace("_", " ") for kind in kinds} | {"line": "work done"}
    stacked = {kind: columns[kind] for kind in kinds}
    return _drawn(plan, stacked, work, told, palette, top=_top(dispatch), title="GPUs paid for")


def work(plan: Plan, dispatch: Dispatch, palette: Palette = LIGHT) -> alt.LayerChart:
    """Draw work where it ran, stacked by lane, under the line of where it would have run had nothing waited."""
    columns = {"realtime": dispatch.realtime_gpus, "deferrable": dispatch.deferrable_gpus}
    arrived = [a + b for a, b in zip(dispatch.realtime_gpus, dispatch.arrived_gpus, strict=True)]
    told = {"realtime": "real time", "deferrable": "deferrable, where it ran", "line": "all, where it arrived"}
    return _drawn(plan, columns, arrived, told, palette, top=_top(dispatch), title="GPUs at work")


def _drawn(
    plan: Plan,
    columns: dict[str, list[float]],
    line: Sequence[float],
    told: dict[str, str],
    palette: Palette,
    *,
    top: float,
    title: str,
) -> alt.LayerChart:
    """Stack columns under a line; both figures of a plan have one scale, so that heights compare."""
    clock = Clock(start_epoch_s=plan.start_epoch_s, span_s=plan.slots * plan.slot_s)
    rows: Rows = [
        {
            "t": clock.value(slot * plan.slot_s),
            "when": clock.written(slot * plan.slot_s),
            "line": round(line[slot], 2),
            **{kind: round(values[slot], 2) for kind, values in columns.items()},
        }
        for slot in range(len(line))
    ]
    order = " : ".join(f"datum.kind === '{kind}' ? {place}" for place, kind in enumerate(columns))
    areas = (
        alt.Chart()
        .transform_fold(list(columns), as_=["kind", "gpus"])
        .transform_calculate(order=f"{order} : {len(columns)}" if order else "0")
        .mark_area(interpolate="step-after", line=False)
        .encode(
            x=clock.axis("plan"),
            y=alt.Y(
                "gpus:Q",
                stack="zero",
                scale=alt.Scale(domain=[0, top], nice=True),
                axis=alt.Axis(title=title, tickCount=4, tickMinStep=1),
            ),
            color=alt.Color("kind:N", scale=colours(tuple(columns), palette), legend=None),
            order="order:Q",
        )
    )
    numbers = [alt.Tooltip(f"{kind}:Q", title=text, format=".1f") for kind, text in told.items()]
    layers = [areas, *_line(clock, palette), pointer(clock, numbers, palette)]
    return figure(
        layers,
        with_ends(rows, clock.value(len(line) * plan.slot_s)),
        palette,
        height=_HEIGHT,
        description=f"{title} over time",
    )


def _line(clock: Clock, palette: Palette) -> tuple[alt.Chart, alt.Chart]:
    """Draw the line, with an edge that lifts it off what is under it."""
    edge = alt.Chart().mark_line(interpolate="step-after", strokeWidth=3.4, color=palette.paper)
    line = alt.Chart().mark_line(interpolate="step-after", strokeWidth=1.4, color=palette.ink)
    x = alt.X(clock.field)
    return edge.encode(x=x, y="line:Q"), line.encode(x=x, y="line:Q")


def _top(dispatch: Dispatch) -> float:
    stacked = [
        *(sum(gpus) for gpus in zip(*dispatch.paid_gpus.values(), strict=True)),
        *(a + b for a, b in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)),
        *(a + b for a, b in zip(dispatch.realtime_gpus, dispatch.arrived_gpus, strict=True)),
    ]
    return max(stacked, default=0.0) or 1.0
