"""The answers of the Python API: records that write and show themselves.

Every answer forwards attributes to its record (`answer.sentence`), and renders it only when asked to.
"""

import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from meritorder import documents
from meritorder.errors import ConfigError
from meritorder.records import planfile
from meritorder.records.comparison import Comparison
from meritorder.records.estimation import Estimate
from meritorder.records.findings import Audit
from meritorder.report import files

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from meritorder.perf.profile import Profile

Record = TypeVar("Record")

_TEXT_COLUMNS: Final = 120
_NOTEBOOK_HEIGHT_PX: Final = 720
_TEXT_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Meritorder</title>
<style>body {{ color: {foreground}; background: {background}; font-family: ui-monospace, monospace }}</style>
</head>
<body><pre>{code}</pre></body>
</html>
"""


class Answer(ABC, Generic[Record]):
    """The answer to a question, around its record.

    Args:
        record: The figures; attributes of the answer are attributes of the record.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "record":  # not of the record, or not set while a copy is made
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.record, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.record)})

    @abstractmethod
    def to_json(self) -> str:
        """Return the answer as JSON, in the form that the command writes."""

    def to_html(self) -> str:
        """Return the answer as one HTML page that needs no network."""
        console = _console(record=True)
        self._print(console)
        return console.export_html(inline_styles=True, code_format=_TEXT_PAGE)

    @abstractmethod
    def _print(self, console: "Console") -> None:
        """Print what the command prints."""

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        """Return suffix to content, for `write`."""
        return {".json": self.to_json, ".html": self.to_html}

    def write(self, path: str | Path) -> Path:
        """Write the answer to a file, whole or not at all; its suffix decides the form, such as .json or .html.

        Raises:
            ConfigError: The suffix is unknown, or the file cannot be written.
        """
        target = Path(path)
        contents = self._contents()
        if target.suffix not in contents:
            raise ConfigError(f"unknown suffix {target.suffix!r}", where=str(path), fix=f"use {' or '.join(contents)}")
        files.check_target(target)
        content = contents[target.suffix]()
        files.write_bytes(target, content.encode() if isinstance(content, str) else content)
        return target

    def __str__(self) -> str:
        console = _console()
        self._print(console)
        written = console.file.getvalue()  # type: ignore[attr-defined]
        return str(written)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.record!r})"

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own so that neither styles the other."""
        page = html.escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {_NOTEBOOK_HEIGHT_PX}px; border: 0"></iframe>'


class ComparisonAnswer(Answer[Comparison]):
    """What a trace costs in real time, in batch and as a mix."""

    def to_json(self) -> str:
        """Return the answer as JSON, in the form that `meritorder compare` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.compare import html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import text

        text.render(self.record, console)


class EstimateAnswer(Answer[Estimate]):
    """What traffic in a few numbers, or one job, costs in every way to serve it."""

    def to_json(self) -> str:
        """Return the answer as JSON, in the form that `meritorder estimate` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.compare import estimate_html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import estimate as text

        text.render(self.record, console)


class PlanAnswer(Answer[planfile.Plan]):
    """The cheapest plan for a trace, as simulated."""

    def to_json(self) -> str:
        """Return the plan as JSON, in the form that `simulate` and the gateway read."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.plan import html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.plan import text

        text.render(self.record, console)


class SimulationAnswer(Answer[planfile.PlanOutcome]):
    """The result of a plan on a trace.

    Args:
        record: The result.
        plan: The plan.
        plan_name: Its file, or what else it is called.
    """

    def __init__(self, record: planfile.PlanOutcome, plan: planfile.Plan, plan_name: str) -> None:
        super().__init__(record)
        self.plan = plan
        self.plan_name = plan_name

    def to_json(self) -> str:
        """Return the result as JSON, in the form that `meritorder simulate` writes."""
        return documents.encode(planfile.PlanSimulation(plan=self.plan_name, simulated=self.record)).decode()

    def _print(self, console: "Console") -> None:
        from meritorder.report.plan import simulation

        simulation.render(self.plan, self.record, self.record.trace, console)


class AuditAnswer(Answer[Audit]):
    """What is overpaid for inference, from a bill."""

    def to_json(self) -> str:
        """Return the findings as JSON, in the form that `meritorder audit` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.audit import html as page

        return page.render(self.record)

    def to_csv(self) -> str:
        """Return the findings as CSV, one a row."""
        from meritorder.report.audit import record

        return record.to_csv(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".csv": self.to_csv}

    def _print(self, console: "Console") -> None:
        from meritorder.report.audit import text

        text.render(self.record, console)


class SweepAnswer(Answer["pl.DataFrame"]):
    """A row for every combination of what was varied and every arrangement.

    Args:
        record: The rows.
        axes: Names of what was varied.
    """

    def __init__(self, record: "pl.DataFrame", axes: Sequence[str]) -> None:
        super().__init__(record)
        self.axes = tuple(axes)

    def to_json(self) -> str:
        """Return the rows as a JSON array of objects."""
        return self.record.write_json()

    def to_html(self) -> str:
        """Return cost against latency and every combination as one HTML page that needs no network."""
        from meritorder.report.compare import sweep_html as report

        return report.render(self.record, self.axes)

    def to_parquet(self) -> bytes:
        """Return the rows as a Parquet file, as `meritorder sweep` writes it."""
        from meritorder.report.compare import sweep as report

        return report.to_parquet(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".parquet": self.to_parquet}

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import sweep as report

        report.render(self.record, self.axes, console)


class CalibrationAnswer(Answer["tuple[Profile, ...]"]):
    """Performance profiles fitted to measured requests, one for each configuration in the log."""

    record: "tuple[Profile, ...]"

    def to_json(self) -> str:
        """Return the profiles as a JSON array."""
        import msgspec

        return msgspec.json.format(msgspec.json.encode(self.record)).decode()

    def to_toml(self) -> str:
        """Return the profiles as `meritorder calibrate` writes them, for `CompareOptions(profile=…)`."""
        from meritorder.perf.shipped import to_toml

        return to_toml(self.record)

    def to_html(self) -> str:
        """Return the fit and its errors as one HTML page."""
        from meritorder.report.inputs import calibration_html

        return calibration_html.render(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".toml": self.to_toml}

    def _print(self, console: "Console") -> None:
        from meritorder.report.inputs import calibration

        calibration.render(self.record, console)


def _console(*, record: bool = False) -> "Console":
    from rich.console import Console

    return Console(file=io.StringIO(), width=_TEXT_COLUMNS, record=record)
