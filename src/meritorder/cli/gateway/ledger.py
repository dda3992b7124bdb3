"""ledger: what was paid and for what, and the ledger as a file."""

from __future__ import annotations

import datetime as dt
import math
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from meritorder.cli.options import (
    CatalogFiles,
    HtmlFile,
    JsonFile,
    Model,
    OptionalConfigFile,
    ProfileFile,
    Rates,
    SloText,
)
from meritorder.cli.parsing import catalog_sources, parse_slo, progress
from meritorder.errors import ConfigError
from meritorder.units import SECONDS_PER_DAY, parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meritorder.bills import Bill
    from meritorder.catalog import Source
    from meritorder.records.accounting import LedgerReport, RunningCommitment, SpendForecast
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.study.ledger.costing import Period

_DEFAULT_BY: Final = "day"
_EVER_S: Final = 1e15
_MAX_FORECAST_S: Final = 366 * SECONDS_PER_DAY
_LEDGER: Final = "ledger.csv"
_CAPACITY_SUFFIX: Final = ".capacity.csv"


def ledger(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Ledger that was exported, as CSV or Parquet.")
    ] = None,
    config: OptionalConfigFile = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Export the ledger as CSV.")] = None,
    capacity: Annotated[
        Path | None,
        typer.Option("--capacity", metavar="FILE", help="Paid capacity (CSV); by default what was exported beside it."),
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", metavar="NAME,…", help="Groups: hour, day, month, tenant, team, key, workload, lane, …"),
    ] = _DEFAULT_BY,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Start: 7d (before now) or ISO 8601, by default in UTC."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, in the same formats.")] = None,
    bill: Annotated[
        list[str] | None,
        typer.Option(
            "--bill", metavar="BILL", help="Compare with an invoice, in any form that audit reads (repeatable)."
        ),
    ] = None,
    counterfactual: Annotated[
        bool, typer.Option("--counterfactual", help="Simulate what real time alone would have cost, and the saving.")
    ] = False,
    forecast: Annotated[
        str | None,
        typer.Option("--forecast", metavar="DURATION", help="Also show what coming days will cost, such as 30d."),
    ] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Show the last seven whole days in a few lines, against the seven before.")
    ] = False,
    send: Annotated[bool, typer.Option("--send", help="Send the digest to the webhooks, too.")] = False,
    model: Model = "",
    profile: ProfileFile = None,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    slo: SloText = "",
    json: JsonFile = None,
    html: HtmlFile = None,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", metavar="FILE", help="Write one page to print, for the person who pays (HTML)."),
    ] = None,
    focus: Annotated[
        Path | None,
        typer.Option("--focus", metavar="FILE", help="Export costs as FOCUS 1.2, to a .csv or .parquet file."),
    ] = None,
) -> None:
    """Show what was paid and for what, by day, tenant or any other group, and export the ledger as a trace.

    The ledger is that of a gateway, or a file that was exported. With --config alone, it is exported to ledger.csv.
    """
    from meritorder.report import files
    from meritorder.report.ledger import text
    from meritorder.study.ledger.focus import check_suffix
    from meritorder.study.ledger.reconcile import period_of, read_bill
    from meritorder.study.ledger.summary import parse_dimensions

    if (config is None) == (file is None):
        raise ConfigError("give exactly one of the two", where="FILE/--config", fix="name a ledger, or a gateway")
    if send and not digest:
        raise ConfigError("there is nothing to send", where="--send", fix="write it with --digest")
    if digest:
        _digest(config, send=send)
        return
    names = parse_dimensions(by)
    if config and not (out or json or html or proof or focus or bill or start or end or forecast or by != _DEFAULT_BY):
        out = Path(_LEDGER)
    files.check_target(out, json, html, proof, focus)
    check_suffix(focus)
    from_s, to_s, days = _instant(start, "--from"), _instant(end, "--to"), _days(forecast)
    invoice = None
    if bill:
        if start or end:
            raise ConfigError("a bill has its own period", where="--from/--to", fix="leave them out, with --bill")
        invoice = read_bill(bill)
        from_s, to_s = astuple(period_of(invoice))
    if config is not None and out and not _export(config, out):
        return
    answer = _account(
        _Source(config=config, file=file, capacity=capacity),
        names,
        (from_s, to_s),
        bill=invoice,
        real_time=_real_time(model, profile, catalog_sources(catalog, rate), slo) if counterfactual else None,
        focus=focus,
        days=days,
    )
    _write(answer, json, html, proof)
    text.render(answer, Console())


def _digest(config: Path | None, *, send: bool) -> None:
    """Show the digest of the last seven whole days, and queue it for the webhooks if asked to."""
    from meritorder.gateway.app.administration import Administration
    from meritorder.report.terminal import plain
    from meritorder.web.digest import KIND, read_digest

    if config is None:
        raise ConfigError("needs a gateway", where="--digest", fix="name it with --config")
    with Administration(config) as store:
        if send and not store.has_receivers:
            raise ConfigError("no receiver is configured", where="--send", fix="add a [[webhook]] to the configuration")
        digest = read_digest(store, time.time())
        for line in digest.lines:
            typer.echo(plain(line).plain)
        if send:
            store.announce(KIND, digest.id, **digest.content())


def _account(
    source: _Source,
    names: Sequence[str],
    within_s: tuple[float | None, float | None],
    *,
    bill: Bill | None,
    real_time: CompareOptions | None,
    focus: Path | None,
    days: int,
) -> LedgerReport:
    """Return what was paid by groups, and what the coming days will cost; write the costs as FOCUS on the way."""
    from msgspec.structs import replace as replace_fields

    from meritorder.report import files
    from meritorder.study.ledger.answer import account, cost_all, whole_period
    from meritorder.study.ledger.days import has_sums
    from meritorder.study.ledger.focus import to_focus

    from_s, to_s = within_s
    if source.config is not None and has_sums(names) and not (real_time or focus or bill):
        answer = account_gateway(source.config, names, from_s, to_s=to_s)
    else:
        attempts, paid, quotes = source.read(from_s, to_s)
        period = _within(whole_period(attempts, paid), from_s, to_s)
        with progress() as status:
            costed = cost_all(attempts, paid, period)
            answer = account(costed, names, quotes=quotes, bill=bill, real_time=real_time, progress=status.update)
            if focus:
                files.write_bytes(focus, to_focus(costed, focus.suffix))
    answer = replace_fields(answer, commitments=source.commitments())
    return replace_fields(answer, forecast=source.forecast(days)) if days else answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where the ledger is: in the store of a gateway, or in files that were exported."""

    config: Path | None
    file: Path | None
    capacity: Path | None

    def read(self, from_s: float | None, to_s: float | None) -> tuple[Any, Any, Any]:
        """Return attempts, paid capacity and quotes."""
        if self.config is not None:
            return read_gateway(self.config, from_s, to_s or _EVER_S)
        return (*_of_file(self.file or Path(), self.capacity), ())

    def commitments(self) -> tuple[RunningCommitment, ...]:
        """Return the commitments in force now; files say nothing of them."""
        return () if self.config is None else running_commitments(self.config, time.time())

    def forecast(self, days: int) -> SpendForecast:
        """Return what coming days will cost: from today on, or from the end of an exported ledger on."""
        from meritorder.gateway.app.administration import Administration
        from meritorder.study.ledger.answer import account, cost_all, whole_period
        from meritorder.study.ledger.forecast import forecast_spend, forecast_store

        if self.config is not None:
            with Administration(self.config) as store:
                return forecast_store(store, now_s=time.time(), days=days)
        attempts, paid, _ = self.read(None, None)
        period = whole_period(attempts, paid)
        by_day = account(cost_all(attempts, paid, period), (_DEFAULT_BY,))
        return forecast_spend(by_day, now_s=period.to_s, days=days)


def _real_time(model: str, profile: Path | None, catalogs: tuple[Source, ...], slo: str) -> CompareOptions:
    from meritorder.study.fleet.options import CompareOptions

    return CompareOptions(model=model, profile=profile, catalogs=catalogs, slo=parse_slo(slo))


def account_gateway(
    config: Path, names: Sequence[str], from_s: float | None, tenant: str | None = None, *, to_s: float | None = None
) -> LedgerReport:
    """Return what was paid by groups for which there are sums of days, by one tenant or all."""
    from meritorder.gateway.app.administration import Administration
    from meritorder.study.ledger.days import account_days

    if from_s is not None and to_s is not None and from_s >= to_s:
        raise _empty_period()
    with Administration(config) as store:
        return account_days(store, names, from_s=from_s, to_s=to_s, tenant=tenant)


def running_commitments(config: Path, now_s: float) -> tuple[RunningCommitment, ...]:
    """Return the commitments of a gateway's venues that are in force at a time."""
    from meritorder.gateway.app.administration import Administration

    with Administration(config) as store:
        return store.commitments(now_s)


def _days(text: str | None) -> int:
    """Return the days of a duration, parts of one counted as whole; 0 if none is given."""
    if text is None:
        return 0
    seconds = parse_duration_s(text)
    if not seconds or seconds > _MAX_FORECAST_S:
        raise ConfigError(
            f"{text!r} is not a number of days to forecast", where="--forecast", fix="write 30d, or up to 366d"
        )
    return math.ceil(seconds / SECONDS_PER_DAY)


def _within(period: Period, from_s: float | None, to_s: float | None) -> Period:
    """Return a period with the start and the end that were given."""
    period = replace(
        period, from_s=period.from_s if from_s is None else from_s, to_s=period.to_s if to_s is None else to_s
    )
    if period.from_s >= period.to_s:
        raise _empty_period()
    return period


def _empty_period() -> ConfigError:
    return ConfigError("the period ends before it starts", where="--from/--to", fix="give an earlier start")


def read_gateway(config: Path, from_s: float | None, to_s: float) -> tuple[Any, Any, Any]:
    """Return the attempts, the paid capacity and the quotes of a gateway's store.

    Raises:
        ConfigError: Rows of that time are deleted.
    """
    from meritorder.gateway.app.administration import Administration
    from meritorder.study.ledger.attempts import ATTEMPTS, from_columns
    from meritorder.study.ledger.days import check_rows

    with Administration(config) as store:
        check_rows(store, from_s)
        from_s = -_EVER_S if from_s is None else from_s
        paid = store.paid_capacity()
        names = [column.name for column in ATTEMPTS]
        attempts = from_columns(store.ledger_columns(names, from_s=from_s, to_s=to_s))
        return attempts, paid, store.settled_quotes(from_s=from_s, to_s=to_s)


def _export(config: Path, out: Path) -> bool:
    """Write the ledger of a gateway to a file, and its paid capacity beside it; return whether there is any."""
    from meritorder.gateway.app.administration import Administration
    from meritorder.study.ledger.answer import write_capacity

    with Administration(config) as store:
        count = store.write_ledger(out)
        typer.echo(f"{count:,} requests written to {out}; to inspect it: meritorder inspect {out}")
        if paid := store.paid_capacity():
            write_capacity(out.with_suffix(_CAPACITY_SUFFIX), paid)
    return bool(count or paid)


def _of_file(path: Path, capacity: Path | None) -> tuple[Any, Any]:
    from meritorder.study.ledger.answer import read_capacity
    from meritorder.study.ledger.attempts import read_attempts

    beside = path.with_suffix(_CAPACITY_SUFFIX)
    if capacity is None and beside.exists():
        capacity = beside
    return read_attempts(path), read_capacity(capacity) if capacity else []


def _write(answer: LedgerReport, json: Path | None, html: Path | None, proof: Path | None) -> None:
    from meritorder import documents
    from meritorder.report import files

    if json:
        files.write_bytes(json, documents.encode(answer))
    if html:
        from meritorder.report.ledger import html as page

        files.write_text(html, page.render(answer))
    if proof:
        from meritorder.report.ledger import proof as one_page

        files.write_text(proof, one_page.render(answer))


def _instant(text: str | None, option: str) -> float | None:
    """Return the epoch seconds of a time; a duration counts back from now."""
    if text is None:
        return None
    before_s = parse_duration_s(text)
    now = dt.datetime.now(tz=dt.UTC)
    if before_s is not None:
        return now.timestamp() - before_s
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time", where=option, fix="write 7d, 2026-11-01 or an instant") from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)).timestamp()
