"""keys: create, limit, list and revoke the API keys of a gateway."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from meritorder.cli.options import ConfigFile, JsonFile
from meritorder.errors import ConfigError
from meritorder.units import PICOUSD_PER_USD, utc

if TYPE_CHECKING:
    from meritorder.gateway.app.administration import KeyReports
    from meritorder.gateway.store.quotas.budgets import BudgetState

_ACTIONS: Final = ("create", "update", "list", "revoke", "team")
_NAMED: Final = {
    "create": "write: keys create NAME",
    "update": "write: keys update ID",
    "revoke": "write: keys revoke ID",
    "team": "write: keys team NAME --budget 500/month",
}
_COLUMNS: Final = ("budget", "spent", "reserved", "left", "renews", "soft limit")
_RATE_COLUMNS: Final = ("requests/min", "tokens/min")
_WIDE: Final = 1000  # no terminal: the table is not to be cut


def keys(
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")],
    config: ConfigFile,
    name: Annotated[
        str, typer.Argument(help="Name of the new key or of the team, or id of the key to update or revoke.")
    ] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant, whose files and batches it sees.")] = "default",
    team: Annotated[str | None, typer.Option("--team", help="Team whose limits bound it too; `none`: no team.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Allow it to read metrics and status.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Allow it to read only, not to call a model or to change anything.")
    ] = False,
    deadline: Annotated[str | None, typer.Option("--deadline", metavar="4h", help="Deadline of its calls.")] = None,
    requests_per_minute: Annotated[
        str | None, typer.Option("--requests-per-minute", metavar="N", help="Rate limit; `none`: no limit.")
    ] = None,
    tokens_per_minute: Annotated[
        str | None, typer.Option("--tokens-per-minute", metavar="N", help="Rate limit; `none`: no limit.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="USD[/day]", help="Most it may spend, in all or in each hour, day, week or month."
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option("--time-zone", metavar="ZONE", help="In which its periods begin; by default UTC.")
    ] = None,
    soft_limit: Annotated[
        str | None, typer.Option("--soft-limit", metavar="80%", help="Share of the budget at which an event is sent.")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option("--webhook", metavar="URL", help="Receiver of that event; by default all of the tenant's."),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Create, limit, list and revoke the API keys of a gateway; a running gateway applies the change within seconds."""
    from meritorder.gateway.app.administration import Administration, KeyRequest
    from meritorder.gateway.app.key_limits import KeyLimits
    from meritorder.report import files

    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="keys", fix=f"write one of {', '.join(_ACTIONS)}")
    if not name and action in _NAMED:
        raise ConfigError("no name or id is given", where=f"keys {action}", fix=_NAMED[action])
    if json is not None and action != "list":
        raise ConfigError("only the list can be written", where="--json", fix="write: keys list --json FILE")
    files.check_target(json)
    limits = KeyLimits(
        budget=budget,
        time_zone=time_zone,
        soft_limit=soft_limit,
        webhook=webhook,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    with Administration(config) as store:
        if limits.changes_budget() and not store.has_prices:
            typer.echo("meritorder: no venue has a price: calls cost nothing, so that a budget has no effect", err=True)
        if action == "create":
            request = KeyRequest(
                name=name,
                tenant=tenant,
                admin=admin,
                read_only=read_only,
                deadline=deadline,
                team=team,
                limits=limits,
            )
            typer.echo(store.create_key(request))
        elif action == "update":
            store.update_key(name, limits, team=team)
        elif action == "team":
            store.set_team(name, limits)
        elif action == "list":
            reports = store.list_keys()
            if json is None:
                _show(reports)
            else:
                files.write_bytes(json, reports.as_json())
        else:
            store.revoke_key(name)


def _show(reports: "KeyReports") -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    table = Table(
        "id",
        "name",
        "tenant",
        "team",
        "admin",
        "read-only",
        "deadline",
        *_RATE_COLUMNS,
        *_COLUMNS,
        box=None,
    )
    for report in reports.keys:
        key = report.key
        table.add_row(
            key.id,
            key.name,
            key.tenant,
            key.team or "",
            "yes" if key.admin else "",
            "yes" if key.read_only else "",
            key.deadline or "",
            *_rates(key.requests_per_minute, key.tokens_per_minute),
            *(_cells(report.budget) if report.budget is not None else ("", _usd(report.cost_picousd), "", "", "", "")),
        )
    console.print(table)
    if reports.teams:
        table = Table("team", *_RATE_COLUMNS, *_COLUMNS, box=None)
        for team in reports.teams:
            rates = _rates(team.rates.requests_per_minute, team.rates.tokens_per_minute)
            table.add_row(team.name, *rates, *(() if team.budget is None else _cells(team.budget)))
        console.print(table)


def _rates(*limits: int | None) -> list[str]:
    return ["" if limit is None else f"{limit:,}" for limit in limits]


def _cells(state: "BudgetState") -> tuple[str, ...]:
    budget = state.budget
    amount = _usd(budget.amount_picousd)
    renews = "" if state.renews_s is None else f"{utc(state.renews_s):%Y-%m-%d %H:%M}Z"
    return (
        amount if budget.period is None else f"{amount}/{budget.period}",
        _usd(state.spent_picousd),
        _usd(state.reserved_picousd),
        _usd(state.left_picousd),
        renews,
        "" if budget.soft_share is None else f"{100 * budget.soft_share:g}%",
    )


def _usd(picousd: int) -> str:
    """Return exact dollars."""
    return f"${(Decimal(picousd) / PICOUSD_PER_USD).normalize():f}"
