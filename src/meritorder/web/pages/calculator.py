"""The calculator: what traffic costs in every way to serve it, from a few numbers, without data or account."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meritorder import catalog as facts
from meritorder.errors import MeritorderError
from meritorder.records.comparison import Waterfall
from meritorder.records.estimation import Estimate, Way
from meritorder.report.compare.rows import waterfalls
from meritorder.report.waterfall import waterfall_title
from meritorder.study.estimate.traffic import estimate_traffic
from meritorder.web.figures import PLOT_HEIGHT, patience_chart, waterfall_bars
from meritorder.web.pages.form import CalculatorForm, read_form
from meritorder.web.render import html

_ANSWERS: Final = 512
_JSON: Final = "application/json"
PATIENCES: Final = ("15m", "1h", "4h", "12h", "24h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the form offers."""

    models: tuple[str, ...]
    hardware: tuple[str, ...]


@lru_cache(maxsize=1)
def choices() -> Choices:
    """Return the models and the GPUs of the catalog."""
    catalog = facts.load()
    return Choices(models=tuple(sorted(catalog.models)), hardware=tuple(sorted(catalog.hardware)))


@lru_cache(maxsize=_ANSWERS)
def answer(form: CalculatorForm) -> Estimate:
    """Return the estimate that a form asks for.

    Raises:
        MeritorderError: There is no answer; the message says why.
    """
    return estimate_traffic(form.traffic(), form.options())


async def show_page(request: Request) -> Response:
    """Return the form and the answer to what the address asks."""
    values, status = await _view(request)
    return html(request, "calculator.html.j2", {"choices": choices(), "patiences": PATIENCES, **values}, status)


async def show_answer(request: Request) -> Response:
    """Return the answer alone, and the address that asks for it."""
    values, status = await _view(request)
    response = html(request, "calculator_answer.html.j2", {"is_part": True, **values}, status)
    if status == 200:
        response.headers["HX-Replace-Url"] = f"/?{request.url.query}"
    return response


async def api_estimate(request: Request) -> Response:
    """Return the answer as JSON, as `meritorder estimate --json` writes it."""
    try:
        estimate = await _answer(read_form(_query(request)))
    except MeritorderError as error:
        return Response(msgspec.json.encode({"error": {"message": str(error)}}), 422, media_type=_JSON)
    return Response(msgspec.json.encode(estimate), media_type=_JSON)


async def _answer(form: CalculatorForm) -> Estimate:
    return await asyncio.to_thread(answer, form)


async def _view(request: Request) -> tuple[dict[str, object], int]:
    """Return the variables of the templates, and the status of the response."""
    form = CalculatorForm()
    try:
        form = read_form(_query(request))
        return {"form": form, "error": None, **view(await _answer(form))}, 200
    except MeritorderError as error:
        return {"form": form, "error": str(error), "estimate": None}, 422


def view(estimate: Estimate) -> dict[str, object]:
    """Return the variables of an answer."""
    return {
        "estimate": estimate,
        "best": next(way for way in estimate.ways if way.name == estimate.best),
        "longest_usd": max(way.usd for way in estimate.ways),
        "main": _main_ways(estimate),
        "waterfalls": [(waterfall_title(fall), waterfall_bars(fall)) for fall in _monthly_waterfalls(estimate)],
        "patience": patience_chart(estimate.patience),
        "plot_height": PLOT_HEIGHT,
    }


def _monthly_waterfalls(estimate: Estimate) -> Iterator[Waterfall]:
    """Yield the waterfalls of the day that was simulated, in dollars of a month, as the ways have them."""
    if estimate.comparison is None:
        return
    for fall in waterfalls(estimate.comparison):
        month_usd = next((way.usd for way in estimate.ways if way.title == fall.start), fall.from_usd)
        days = month_usd / fall.from_usd if fall.from_usd else 1.0
        parts = [msgspec.structs.replace(part, usd=part.usd * days) for part in fall.parts]
        yield msgspec.structs.replace(fall, from_usd=month_usd, to_usd=fall.to_usd * days, parts=parts)


def _main_ways(estimate: Estimate) -> list[Way]:
    """Return the ways on machines, and the cheapest of each tier of tokens."""
    tiers: dict[str, Way] = {}
    for way in estimate.ways:
        if way.name.startswith("tokens"):
            tiers.setdefault(way.name, way)
    return [way for way in estimate.ways if tiers.get(way.name, way) is way]


def _query(request: Request) -> Mapping[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}
