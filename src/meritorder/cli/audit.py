"""audit: what is overpaid for inference, from the bill."""

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from meritorder.cli.options import CatalogFiles, Columns, Format, HtmlFile, JsonFile
from meritorder.cli.parsing import progress
from meritorder.errors import ConfigError


def audit(
    bill: Annotated[
        list[Path],
        typer.Argument(
            metavar="BILL...",
            help="Bills, or folders: FOCUS, AWS CUR, OpenAI, Anthropic, LiteLLM; CSV, Parquet or JSON, gzip too.",
        ),
    ],
    trace: Annotated[
        list[str] | None,
        typer.Option("--trace", metavar="FILE", help="Requests that the machines served: charges them (repeatable)."),
    ] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(
            "--serving", metavar="COLUMN=GLOB", help="Machines that served the trace: tag:service=chat* (repeatable)."
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="Utilisation of machines: CSV, or a Prometheus range query."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", metavar="COLUMN=GLOB", help="What else is inference: tag:team=llm*, service=… (repeatable)."
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
        typer.Option("--invoice", metavar="USD", help="Total of the invoice: says by how much the bill differs."),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Make anything that is wrong with the bill an error; else it is reported.")
    ] = False,
    catalog: CatalogFiles = None,
    json: JsonFile = None,
    html: HtmlFile = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the findings as CSV.")] = None,
    held: Annotated[
        Path | None,
        typer.Option("--held", metavar="FILE", help="Write the commitments that run, for --have of plan."),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option("--rates", metavar="FILE", help="Write the prices that the bill paid, for --catalog elsewhere."),
    ] = None,
) -> None:
    """Say what is overpaid for inference, from the bill.

    Findings in dollars a month, each with evidence and a fix; what the bill cannot tell is asked for by name. With
    --trace, dollars per request. For example:

    meritorder audit cur.csv --trace requests.csv --html audit.html
    """
    from meritorder import bills
    from meritorder import catalog as facts
    from meritorder.report import files
    from meritorder.study.audit import Options
    from meritorder.study.audit import audit as study
    from meritorder.study.audit.terms import terms, to_catalog, to_have

    files.check_target(json, html, csv, rates, held)
    paper = _usd(invoice) if invoice else None
    options = Options(
        bill=tuple(map(str, bill)),
        trace=tuple(trace or ()),
        serving=_selectors(serving, "--serving"),
        metrics=metrics,
        model=model,
        by=tuple(by or ()),
        catalogs=tuple(catalog or ()),
    )
    with progress() as status:
        status.update("reading the bill")
        read = bills.read(
            bill,
            format=format_,
            select=_selectors(select, "--select"),
            patient=_selectors(may_wait, "--may-wait"),
            apart=[*dict(options.serving), *options.by],
            strict=strict,
        )
        requests = None
        if trace:
            status.update("reading the trace")
            requests = _trace(trace, columns)
        found = study(read, options, requests, status.update)
        if rates or held:
            own = terms(read, facts.load(options.catalogs))
            for target, content in ((rates, to_catalog(own.offers)), (held, to_have(own))):
                if target:
                    files.write_text(target, content)
        _write(found, json, html, csv)
    if paper is not None:
        typer.echo(_against(read.report.against_invoice(paper), paper))


def _write(found: Any, json: Path | None, html: Path | None, csv: Path | None) -> None:
    from meritorder.report import files
    from meritorder.report.audit import record, text

    if html:
        from meritorder.report.audit import html as page

        files.write_text(html, page.render(found))
    if json:
        files.write_bytes(json, record.encode(found))
    if csv:
        files.write_text(csv, record.to_csv(found))
    text.render(found, Console())


def _trace(sources: list[str], columns: str | None) -> Any:
    from meritorder.cli.parsing import read_trace

    return read_trace(sources, None, columns, 1.0, None, None, strict=False, seed=0)


def _selectors(texts: list[str] | None, option: str) -> tuple[tuple[str, str], ...]:
    """Read `column=glob`, `tag:key=glob`."""
    pairs = [text.partition("=") for text in texts or ()]
    for text, (column, equals, glob) in zip(texts or (), pairs, strict=True):
        if not (column and equals and glob):
            raise ConfigError(f"{text!r} is not COLUMN=GLOB", where=option, fix="write tag:team=llm* or service=NAME")
    return tuple((column, glob) for column, _, glob in pairs)


def _usd(text: str) -> Decimal:
    try:
        return Decimal(re.sub(r"[$,\s]", "", text))
    except InvalidOperation:
        raise ConfigError(f"{text!r} is not an amount", where="--invoice", fix="write 12345.67") from None


def _against(difference: Decimal, paper: Decimal) -> str:
    if not difference:
        return f"The bill is the invoice, {paper:,.2f} USD, to the cent."
    more = "more" if difference > 0 else "less"
    return f"The bill has {abs(difference):,.2f} USD {more} than the invoice of {paper:,.2f} USD."
