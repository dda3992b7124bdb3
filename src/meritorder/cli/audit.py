"""audit: what is overpaid for inference, from the bill."""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from meritorder.cli.options import CatalogFiles, Columns, HtmlFile, JsonFile, Rates
from meritorder.cli.parsing import catalog_sources, parse_pairs, parse_rates, progress
from meritorder.errors import ConfigError

if TYPE_CHECKING:
    from meritorder.bills.accounts.aws import AccountRead
    from meritorder.records.findings import Audit
    from meritorder.study.audit.context import AuditCase

_ACCOUNT: Final = "aws"


def audit(
    bill: Annotated[
        list[str],
        typer.Argument(
            metavar="BILL...",
            help="Bills, folders: FOCUS, CUR, Cost Explorer, Azure, GCP, OpenAI, Anthropic, ...; CSV, Parquet or JSON.",
        ),
    ],
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace", metavar="FILE", help="Requests that the machines served, to allocate costs to (repeatable)."
        ),
    ] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(
            "--serving", metavar="COLUMN=GLOB", help="Machines that served the trace: tag:service=chat* (repeatable)."
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="Utilization of machines: CSV, or a Prometheus range query."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            metavar="COLUMN=GLOB",
            help="Further charges that are inference: tag:team=llm*, service=… (repeatable).",
        ),
    ] = None,
    may_wait: Annotated[
        list[str] | None,
        typer.Option(
            "--may-wait",
            metavar="COLUMN=GLOB",
            help="Charges whose work may wait: tag:app=etl*, account=… (repeatable).",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="Break the cost down: tag:team, account, model (repeatable)."),
    ] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model that the machines serve.")] = "",
    invoice: Annotated[
        str | None,
        typer.Option("--invoice", metavar="USD", help="Total of the invoice, to compare the bill with."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Format of the bills; detected if left out.")
    ] = None,
    columns: Columns = None,
    rate: Rates = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Audit a bill even if more than 1 % of it cannot be read.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Treat anything wrong with the bill as an error, rather than report it.")
    ] = False,
    aws_profile: Annotated[
        str | None, typer.Option("--aws-profile", metavar="NAME", help="Profile of ~/.aws/config, for `audit aws`.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="Days until today that `audit aws` reads.")] = 30,
    catalog: CatalogFiles = None,
    json: JsonFile = None,
    html: HtmlFile = None,
    brief: Annotated[
        Path | None,
        typer.Option("--brief", metavar="FILE", help="Write one page to print, for the person who decides (HTML)."),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the findings as CSV.")] = None,
    held: Annotated[
        Path | None,
        typer.Option("--held", metavar="FILE", help="Write the running commitments, for plan --have."),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option("--rates", metavar="FILE", help="Write the prices that the bill paid, for --catalog."),
    ] = None,
) -> None:
    """Find what is overpaid for inference, from the bill.

    Prints findings in dollars a month, each with evidence and a fix, and the inputs that the bill lacks. With --trace,
    also dollars per request. For example:

    meritorder audit cur.csv --trace requests.csv --html audit.html

    `meritorder audit aws` reads an account itself, without an export and without changing anything.
    """
    from meritorder import bills
    from meritorder.report import files
    from meritorder.study.audit.answer import audit_case
    from meritorder.study.audit.context import AuditOptions, build_case

    files.check_target(json, html, brief, csv, rates, held)
    invoice_usd = _usd(invoice, "--invoice", "write 12345.67") if invoice else None
    options = AuditOptions(
        bill=tuple(bill),
        trace=tuple(trace or ()),
        serving=_selectors(serving, "--serving"),
        metrics=metrics,
        model=model,
        by=tuple(by or ()),
        catalogs=catalog_sources(catalog, rate),
    )
    of_bill, of_trace = _split_columns(columns, with_trace=bool(trace))
    with progress() as status:
        status.update("reading the bill")
        account = _account(aws_profile, days, status.update) if _is_account(bill) else None
        read = bills.read(
            [account.costs] if account else bill,
            format=format_,
            columns=of_bill,
            select=_selectors(select, "--select"),
            may_wait=_selectors(may_wait, "--may-wait"),
            group_by=[*dict(options.serving), *options.by],
            rates={known.currency: known.usd for known in parse_rates(rate)},
            partial=partial,
            strict=strict,
        )
        requests = None
        if trace:
            status.update("reading the trace")
            requests = _trace(trace, of_trace)
        status.update("gathering machine hours")
        if account and metrics is None:
            options = replace(options, metrics=account.metrics)
        case = build_case(read, options)
        answer = audit_case(case, requests, status.update)
        if rates or held:
            _write_terms(case, rates, held)
        _write(answer, json, html, brief, csv)
    if invoice_usd is not None:
        typer.echo(_compared(read.report.against_invoice(invoice_usd), invoice_usd))


def _is_account(named: list[str]) -> bool:
    """Return whether an account is meant, rather than a file of that name."""
    return named == [_ACCOUNT] and not Path(_ACCOUNT).exists()


def _account(profile: str | None, days: int, update: Callable[[str], None]) -> "AccountRead":
    """Return what the AWS account shows of the last whole days."""
    from meritorder.bills.accounts import aws

    today = dt.datetime.now(tz=dt.UTC).date()
    return aws.read_account(aws.open_session(profile), today - dt.timedelta(days=days), today, update)


def _write_terms(case: "AuditCase", rates: Path | None, held: Path | None) -> None:
    from meritorder.report import files
    from meritorder.study.audit.terms import terms_of_fleet, to_catalog_file, to_have_file

    terms = terms_of_fleet(case.bill, case.fleet, case.catalog)
    if rates:
        files.write_text(rates, to_catalog_file(terms.offers))
    if held:
        files.write_text(held, to_have_file(terms))


def _write(answer: "Audit", json: Path | None, html: Path | None, brief: Path | None, csv: Path | None) -> None:
    from meritorder.report import files
    from meritorder.report.audit import record, text

    if html:
        from meritorder.report.audit import html as page

        files.write_text(html, page.render(answer))
    if brief:
        from meritorder.report.audit import brief as one_page

        files.write_text(brief, one_page.render(answer))
    if json:
        files.write_bytes(json, record.encode(answer))
    if csv:
        files.write_text(csv, record.to_csv(answer))
    text.render(answer, Console())


def _trace(sources: list[str], columns: str | None) -> Any:
    from meritorder.cli.parsing import read_trace

    return read_trace(sources, None, columns, 1.0, None, None, strict=False, seed=0)


def _split_columns(columns: str | None, *, with_trace: bool) -> tuple[dict[str, str], str | None]:
    """Return the named columns of the bill, and those of the trace; a name that both have is the trace's."""
    from meritorder.bills.formats.by_columns import FIELDS
    from meritorder.traces.formats.columns import FIELDS as TRACE_FIELDS

    if not columns:
        return {}, None
    pairs = parse_pairs(columns, "--columns")
    if not with_trace:
        return pairs, None
    of_bill = {name: column for name, column in pairs.items() if name in FIELDS and name not in TRACE_FIELDS}
    of_trace = [f"{name}={column}" for name, column in pairs.items() if name not in of_bill]
    return of_bill, ",".join(of_trace) or None


def _selectors(texts: list[str] | None, option: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of `column=glob` and `tag:key=glob`."""
    pairs = [text.partition("=") for text in texts or ()]
    for text, (column, equals, glob) in zip(texts or (), pairs, strict=True):
        if not (column and equals and glob):
            raise ConfigError(f"{text!r} is not COLUMN=GLOB", where=option, fix="write tag:team=llm* or service=NAME")
    return tuple((column, glob) for column, _, glob in pairs)


def _usd(text: str, option: str, fix: str) -> Decimal:
    try:
        return Decimal(re.sub(r"[$,\s]", "", text))
    except InvalidOperation:
        raise ConfigError(f"{text!r} is not an amount", where=option, fix=fix) from None


def _compared(difference: Decimal, invoice_usd: Decimal) -> str:
    if not difference:
        return f"The bill equals the invoice, {invoice_usd:,.2f} USD, to the cent."
    more = "more" if difference > 0 else "less"
    return f"The bill has {abs(difference):,.2f} USD {more} than the invoice of {invoice_usd:,.2f} USD."
