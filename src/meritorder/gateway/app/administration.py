"""Administration of a gateway's store, whether the gateway runs or not: API keys and the ledger."""

import csv
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TextIO

import msgspec
from sqlalchemy import Connection

from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.app.key_limits import KeyLimits
from meritorder.gateway.state.auth import new_id, new_secret
from meritorder.gateway.state.webhooks import Outbox
from meritorder.gateway.store import keys, migrations
from meritorder.gateway.store.billing import capacity, daily, ledger, quotes
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key, Rates
from meritorder.gateway.store.queue import backlog
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.venues.rented import Rented
from meritorder.gateway.wire.quotas import budget_fields, dollars
from meritorder.metering.capacity import Paid
from meritorder.records.accounting import RunningCommitment
from meritorder.records.receipts import SettledQuote
from meritorder.units import SECONDS_PER_DAY, exact_usd, utc

_NO_TEAM: Final = "none"
_MAX_TEAM_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """A key to create.

    Raises:
        ConfigError: Its deadline is invalid.
    """

    name: str
    tenant: str = "default"
    admin: bool = False
    read_only: bool = False
    deadline: str | None = None
    team: str | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)

    def __post_init__(self) -> None:
        if self.deadline is not None:
            config_file.check_deadline(self.deadline, where="--deadline")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """A key, its budget if it has one, and what all its calls have cost."""

    key: Key
    budget: BudgetState | None
    cost_picousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamReport:
    """A team, and its limits."""

    name: str
    budget: BudgetState | None
    rates: Rates

    def as_json(self) -> dict[str, Any]:
        """Return its fields."""
        return {
            "team": self.name,
            "requests_per_minute": self.rates.requests_per_minute,
            "tokens_per_minute": self.rates.tokens_per_minute,
            "budget": None if self.budget is None else budget_fields(self.budget),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReports:
    """The valid keys by tenant and name, and the teams with a limit by name."""

    keys: Sequence[KeyReport]
    teams: Sequence[TeamReport]

    def as_json(self) -> bytes:
        """Return them as JSON, with exact dollars as text."""
        content = {
            "keys": [
                {name: getattr(report.key, name) for name in keys.COLUMNS}
                | {
                    "spent_usd": dollars(report.cost_picousd),
                    "budget": None if report.budget is None else budget_fields(report.budget),
                }
                for report in self.keys
            ],
            "teams": [team.as_json() for team in self.teams],
        }
        return msgspec.json.format(msgspec.json.encode(content), indent=2)


class Administration:
    """An open store; a context manager.

    Args:
        path: The configuration that names the store.

    Raises:
        ConfigError: The configuration or its store cannot be used.
    """

    def __init__(self, path: Path) -> None:
        settings = config_file.read(path)
        self._venues = settings.venue
        self._receivers = {webhook.target for webhook in settings.webhook}
        self._outbox = Outbox(settings.webhook, time.time, new_id)
        self.has_prices = any(venue.price is not None for venue in settings.venue)
        self._database = Database(settings.store.url)
        migrations.upgrade(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def create_key(self, request: KeyRequest) -> str:
        """Create a key and return its secret, which is not stored.

        Raises:
            ConfigError: A limit is invalid, or the team has none.
        """
        secret, now_s = new_secret(), time.time()
        key = Key(
            id=new_id("key_"),
            name=request.name,
            tenant=request.tenant,
            admin=request.admin,
            read_only=request.read_only,
            deadline=request.deadline,
            team=request.team,
        )
        key = replace(key, **request.limits.rates())
        budget = None
        if request.limits.changes_budget():
            budget = self._checked(request.limits.apply_to(None, key.id, key.tenant))

        def change(connection: Connection) -> None:
            _check_team(connection, request.team)
            keys.add(connection, key, secret, now_s=now_s)
            if budget is not None:
                budgets.set_budget(connection, budget, now_s=now_s)

        self._database.submit(change).result()
        return secret

    def update_key(self, key_id: str, limits: KeyLimits, *, team: str | None = None) -> None:
        """Change the limits of a key, or its team; a running gateway obeys within seconds.

        Raises:
            ConfigError: No valid key has this id, a limit is invalid, or the team has none.
        """
        values = limits.rates()
        if team is not None:
            values["team"] = None if team == _NO_TEAM else team

        def change(connection: Connection) -> None:
            _check_team(connection, values.get("team"))
            if not keys.change(connection, key_id, values):
                raise _unknown_key(key_id, "update")
            self._change_budget(connection, key_id, limits, keys.read(connection).by_id[key_id].tenant)

        self._database.submit(change).result()

    def set_team(self, name: str, limits: KeyLimits) -> None:
        """Set limits of a team, which bound all its keys together; `none` removes a limit.

        Raises:
            ConfigError: The name or a limit is invalid.
        """
        if len(name) > _MAX_TEAM_NAME or not name.isprintable():
            raise ConfigError(
                f"{name[:_MAX_TEAM_NAME]!r} is not a name",
                where="keys team",
                fix=f"give up to {_MAX_TEAM_NAME} letters",
            )
        rates = limits.rates()
        if not rates and not limits.changes_budget():
            raise ConfigError("no limit is given", where="keys team", fix="write: keys team NAME --budget 500/month")

        def change(connection: Connection) -> None:
            self._change_budget(connection, keys.team_id(name), limits, None)
            keys.change_team_rates(connection, name, rates)

        self._database.submit(change).result()

    def list_keys(self) -> KeyReports:
        """Return the valid keys, the teams, and what they have spent."""
        now_s = time.time()

        def read(connection: Connection) -> KeyReports:
            states = {state.budget.id: state for state in budgets.states(connection, now_s=now_s)}
            costs = ledger.cost_by_key(connection)
            rates = {team.id: team for team in keys.team_rates(connection)}
            valid = sorted(keys.read(connection).by_digest.values(), key=lambda key: (key.tenant, key.name))
            return KeyReports(
                keys=[
                    KeyReport(key=key, budget=states.pop(key.id, None), cost_picousd=costs.get(key.id, 0))
                    for key in valid
                ],
                teams=_team_reports(states, rates),
            )

        return self._database.read_now(read)

    @property
    def has_receivers(self) -> bool:
        """Whether the configuration names receivers of events."""
        return self._outbox.has_receivers

    def announce(self, kind: str, item_id: str, **content: object) -> None:
        """Queue an event for the receivers of all tenants' events; the gateway delivers it."""
        if self.has_receivers:
            self._database.submit(lambda store: self._outbox.announce(store, None, kind, item_id, **content)).result()

    def announce_once(self, kind: str, item_id: str, **content: object) -> None:
        """Queue an event as `announce` does, unless it was queued for the same thing within a day."""
        if self.has_receivers:
            self._database.submit(lambda store: self._outbox.alert(store, None, kind, item_id, **content)).result()

    def budget_states(self) -> Sequence[BudgetState]:
        """Return the budgets of keys and teams."""
        return self._database.read_now(partial(budgets.states, now_s=time.time()))

    def _change_budget(self, connection: Connection, budget_id: str, limits: KeyLimits, tenant: str | None) -> None:
        if not limits.changes_budget():
            return
        current = next((state.budget for state in budgets.states(connection, [budget_id], now_s=time.time())), None)
        budget = self._checked(limits.apply_to(current, budget_id, tenant))
        if budget is None:
            keys.remove_budget(connection, budget_id)
        else:
            budgets.set_budget(connection, budget, now_s=time.time())

    def _checked(self, budget: Budget | None) -> Budget | None:
        """Return a budget whose webhook is one of the configuration, which has the secret to sign with."""
        if budget is not None and budget.webhook is not None and budget.webhook not in self._receivers:
            raise ConfigError(
                f"the configuration has no [[webhook]] with the url {budget.webhook!r}",
                where="--webhook",
                fix="add one, with its secret",
            )
        return budget

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key.

        Raises:
            ConfigError: No valid key has this id.
        """
        now_s = time.time()
        if not self._database.submit(lambda connection: keys.revoke(connection, key_id, now_s=now_s)).result():
            raise _unknown_key(key_id, "revoke")

    def write_ledger(self, path: Path) -> int:
        """Write the ledger as CSV, with exact dollars, and return the number of rows."""
        with path.open("w", newline="", encoding="utf-8") as file:
            return self._database.read_now(lambda connection: _write_csv(file, ledger.rows(connection)))

    def paid_capacity(self) -> Sequence[Paid]:
        """Return what was rented and paid by time."""
        return self._database.read_now(capacity.paid)

    def commitments(self, now_s: float) -> tuple[RunningCommitment, ...]:
        """Return the commitments in force, those that end first before others.

        Raises:
            ConfigError: The catalog has no price of a machine.
        """
        rented = [(table.name, Rented.from_table(table)) for table in self._venues]
        committed = [(name, machine) for name, machine in rented if machine and machine.is_committed(now_s)]
        return tuple(
            RunningCommitment(
                venue=name,
                machine=machine.machine,
                pricing_model=machine.pricing_model,
                usd_per_hour=exact_usd(machine.picousd_per_hour),
                ends_at=utc(machine.ends_s).isoformat() if machine.ends_s < math.inf else None,
                days_left=int((machine.ends_s - now_s) // SECONDS_PER_DAY) if machine.ends_s < math.inf else None,
            )
            for name, machine in sorted(committed, key=lambda named: (named[1].ends_s, named[0]))
        )

    def summed_days(self) -> Sequence[int]:
        """Return the days, since the epoch, whose costs are summed."""
        return self._database.read_now(daily.summed_days)

    def first_day(self) -> int | None:
        """Return the first day of the ledger; None if it is empty."""
        return self._database.read_now(daily.first_day)

    def rows_from_s(self) -> float | None:
        """Return since when the ledger has all rows; None if none were deleted."""
        day = self._database.read_now(daily.sealed_until)
        return None if day is None else daily.bounds_s(day)[0]

    def daily_sums(
        self, by: Sequence[str], *, first: int, last: int, tenant: str | None = None
    ) -> dict[str, list[Any]]:
        """Return the costs of each day from the first to the last by some columns, of a tenant or all, as columns."""
        return self._database.read_now(partial(daily.sums, by=by, first=first, last=last, tenant=tenant))

    def queued(self) -> int:
        """Return the number of queued requests."""
        return sum(self._database.read_now(backlog.queued_by_model).values())

    def settled_quotes(self, *, from_s: float, to_s: float) -> Sequence[SettledQuote]:
        """Return what batches with a quote that ended in a period were quoted and what they cost."""
        return self._database.read_now(lambda connection: quotes.settled(connection, from_s=from_s, to_s=to_s))

    def ledger_columns(self, names: Sequence[str], *, from_s: float, to_s: float) -> dict[str, list[Any]]:
        """Return columns of the ledger rows that overlap a period."""
        return self._database.read_now(lambda connection: ledger.columns(connection, names, from_s=from_s, to_s=to_s))


def _team_reports(states: Mapping[str, BudgetState], rates: Mapping[str, Rates]) -> list[TeamReport]:
    limits = (rates.get(limit_id) or Rates(id=limit_id) for limit_id in sorted({*states, *rates}))
    return [
        TeamReport(name=limit.team, budget=states.get(limit.id), rates=limit)
        for limit in limits
        if limit.team is not None
    ]


def _unknown_key(key_id: str, action: str) -> ConfigError:
    return ConfigError(f"no valid key has the id {key_id!r}", where=f"keys {action}", fix="see `meritorder keys list`")


def _check_team(connection: Connection, team: str | None) -> None:
    if team is None or budgets.states(connection, [keys.team_id(team)], now_s=time.time()):
        return
    if not any(rates.team == team for rates in keys.team_rates(connection)):
        raise ConfigError(
            f"the team {team!r} has no limits", where="--team", fix=f"write: keys team {team} --budget 500/month"
        )


def _write_csv(file: TextIO, rows: Iterator[dict[str, Any]]) -> int:
    names = [*(name for name in ledger.EXPORTED if name != "cost_picousd"), "cost_usd"]
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    count = 0
    for row in rows:
        cost = row.pop("cost_picousd")
        writer.writerow(row | {"cost_usd": None if cost is None else exact_usd(cost)})
        count += 1
    return count
