"""What a person asks the calculator: the fields of its form, read from the query of an address."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final
from urllib.parse import urlencode

from meritorder.domain import Slo
from meritorder.errors import MeritorderError
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces.generated.synthetic import Traffic
from meritorder.units import SECONDS_PER_DAY, parse_duration_s

_MAX_TEXT: Final = 100
_MAX_HARDWARE: Final = 8
_MAX_REQUESTS_PER_DAY: Final = 1e9
_MAX_PATIENCE_S: Final = 365 * SECONDS_PER_DAY


class FormError(MeritorderError):
    """A field of the form cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalculatorForm:
    """The fields of the form.

    Args:
        model: Model to serve.
        hardware: GPUs to choose from.
        requests_per_day: Requests on an average day.
        input_tokens: Mean prompt length.
        output_tokens: Mean length of the answers.
        peak: Requests in the busiest hour / in a mean hour.
        can_wait: Percent of the requests that can wait.
        patience: How long they can wait, as a duration.
        ttft_s: Real-time SLO: time to first token.
        tpot_s: Real-time SLO: time per output token after the first.
    """

    model: str = "llama-3.1-8b"
    hardware: tuple[str, ...] = ("h100",)
    requests_per_day: float = 50_000.0
    input_tokens: float = 1_200.0
    output_tokens: float = 300.0
    peak: float = 3.0
    can_wait: float = 30.0
    patience: str = "4h"
    ttft_s: float = 2.0
    tpot_s: float = 0.1

    def query(self) -> str:
        """Return the query of an address that asks the same."""
        return urlencode({name: _text(value) for name, value in asdict(self).items()}, doseq=True)

    def traffic(self) -> Traffic:
        """Return the traffic.

        Raises:
            TraceError: A number is out of range.
        """
        return Traffic(
            requests_per_day=self.requests_per_day,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            peak_to_mean=self.peak,
        )

    def options(self) -> CompareOptions:
        """Return the options of the comparison."""
        return CompareOptions(
            model=self.model,
            hardware=self.hardware,
            defer=(f"{self.can_wait:.12g}%@{self.patience}",) if self.can_wait else (),
            slo=Slo(ttft_s=self.ttft_s, tpot_s=self.tpot_s),
        )


def read_form(query: Mapping[str, Iterable[str]]) -> CalculatorForm:
    """Return the form that a query fills in; a field that it lacks keeps its default.

    Args:
        query: The values of each field, in the order of the address.

    Raises:
        FormError: A field is unknown or cannot be used; the message names it.
    """
    values: dict[str, object] = {}
    for name, given in query.items():
        texts = [text.strip() for text in given if text.strip()]
        if name not in _READERS:
            raise FormError("unknown field", where=name[:_MAX_TEXT], fix=f"the fields are {', '.join(_READERS)}")
        if texts:
            values[name] = _READERS[name](name, texts)
    return CalculatorForm(**values)  # type: ignore[arg-type]


def _name(field: str, texts: list[str]) -> str:
    text = texts[-1]
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise FormError(f"not a name of at most {_MAX_TEXT} characters", where=field)
    return text


def _names(field: str, texts: list[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_name(field, [text]) for text in texts))
    if len(names) > _MAX_HARDWARE:
        raise FormError("too many", where=field, fix=f"choose at most {_MAX_HARDWARE}")
    return names


def _number(lowest: float, highest: float) -> Callable[[str, list[str]], float]:
    def read(field: str, texts: list[str]) -> float:
        try:
            number = float(texts[-1].replace(",", ""))
        except ValueError:
            number = float("nan")
        if not lowest <= number <= highest:
            what = f"{texts[-1][:_MAX_TEXT]!r} is not a number from {lowest:g} to {highest:,.10g}"
            raise FormError(what, where=field)
        return number

    return read


def _duration(field: str, texts: list[str]) -> str:
    text = _name(field, texts)
    seconds = parse_duration_s(text)
    if seconds is None or not 0 < seconds <= _MAX_PATIENCE_S:
        raise FormError(f"{text!r} is not a duration of at most a year", where=field, fix="write 30m, 4h or 1d")
    return text


_READERS: Final[dict[str, Callable[[str, list[str]], object]]] = {
    "model": _name,
    "hardware": _names,
    "requests_per_day": _number(1, _MAX_REQUESTS_PER_DAY),
    "input_tokens": _number(1, 1_000_000),
    "output_tokens": _number(1, 100_000),
    "peak": _number(1, 20),
    "can_wait": _number(0, 100),
    "patience": _duration,
    "ttft_s": _number(0.05, 600),
    "tpot_s": _number(0.001, 10),
}
assert set(_READERS) == {field.name for field in fields(CalculatorForm)}  # noqa: S101 - every field can be read


def _text(value: object) -> object:
    return f"{value:.12g}" if isinstance(value, float) else value
