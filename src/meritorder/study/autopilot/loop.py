"""The autopilot beside a gateway: looks at its store again and again, decides, records, and writes the plan."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Self

from msgspec import structs

from meritorder import documents
from meritorder.catalog import Source
from meritorder.errors import ConfigError, MeritorderError
from meritorder.gateway import config_file
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.venues.plans.matching import read_plan as match_plan
from meritorder.records.autopilot import APPLIED, REVERTED, SUGGESTED, Decision
from meritorder.records.planfile import Plan, read_plan
from meritorder.report import files
from meritorder.study.autopilot.commitments import purchase_list
from meritorder.study.autopilot.decide import Pilot, Planner
from meritorder.study.autopilot.log import DecisionLog, next_id
from meritorder.study.autopilot.observation import read_store
from meritorder.study.autopilot.options import parse_options
from meritorder.study.fleet.options import Progress
from meritorder.units import utc

PURCHASES: Final = "purchases.csv"
SUGGESTION: Final = "suggested-plan.json"
_LOCK: Final = "lock"
_CHANGE_LOCK: Final = "change.lock"
_CHANGING: Final = {APPLIED, REVERTED}


class Autopilot:
    """The autopilot of one gateway; a context manager that keeps others from stepping.

    People apply and revert decisions also while another process runs it.

    Args:
        config: The gateway's configuration.
        planner: Makes a plan of a trace.
        catalogs: Catalog files, and rates of currencies.
        progress: Receives each step.

    Raises:
        ConfigError: The configuration is invalid, or names no plan.
    """

    def __init__(
        self, config: Path, planner: Planner, *, catalogs: tuple[Source, ...] = (), progress: Progress = lambda _: None
    ) -> None:
        self._config = config
        self._settings = config_file.read(config)
        if not self._settings.plan:
            fix = 'make one with `meritorder plan`, and write plan = "plan.json"'
            raise ConfigError("no plan is in force", where=f"{config}: plan", fix=fix)
        self._plan_path = Path(self._settings.plan)
        self.options = parse_options(self._settings.autopilot, config, catalogs)
        self.log = DecisionLog(self._settings.autopilot_folder)
        self._pilot = Pilot(options=self.options, planner=planner, accepts=self._refusal, progress=progress)
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.log.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.log.folder / _LOCK).open("w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigError("another autopilot runs", where=str(self.log.folder), fix="stop that one") from None
        with self._changing():
            return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def step(self, now_s: float) -> Decision | None:
        """Look once, and do what there is to do; None if there is no reason to.

        Raises:
            MeritorderError: The store has nothing to plan from, or the plan cannot be read.
        """
        past, in_force = self.log.read(), read_plan(self._plan_path)
        seen = read_store(self._config, now_s=now_s, history_s=self.options.history_s)
        applied = [decision for decision in past if decision.outcome == APPLIED]
        before = self.log.plan(applied[-1].plan_before) if applied else None
        weighed = self._pilot.decide(seen, in_force, past, before)
        if weighed is None:
            return None
        name_before = self.log.keep_plan(in_force)
        name_after = self.log.keep_plan(weighed.plan) if weighed.plan is not in_force else name_before
        if weighed.decision.outcome not in {APPLIED, SUGGESTED}:
            name_after = name_before
        decision = structs.replace(weighed.decision, plan_before=name_before, plan_after=name_after)
        with self._changing() as now_in_force:
            if decision.outcome == APPLIED and self.log.keep_plan(now_in_force) != name_before:
                return None  # the plan changed meanwhile: look again
            self._record(decision)
        if decision.outcome == SUGGESTED:
            files.write_bytes(self.log.folder / SUGGESTION, documents.encode(weighed.plan))
        if decision.commitments:
            files.write_text(self.log.folder / PURCHASES, purchase_list(decision.commitments))
        return decision

    def revert(self, decision_id: str, now_s: float) -> Decision:
        """Go back to the plan that was in force before a decision.

        Raises:
            ConfigError: No applied decision has this id, or the gateway cannot execute that plan.
        """
        decision = self.log.find(decision_id)
        if decision.outcome not in _CHANGING:
            raise ConfigError(f"{decision.id} changed nothing", where="autopilot revert", fix="name an applied one")
        with self._changing() as in_force:
            return self._put(
                Decision(
                    id=next_id(self.log.read()),
                    at=f"{utc(now_s):%Y-%m-%dT%H:%M:%SZ}",
                    at_s=now_s,
                    mode=self.options.mode,
                    outcome=REVERTED,
                    why=f"a person went back to the plan before {decision.id}",
                    inputs=decision.inputs,
                    drift=decision.drift,
                    plan_before=self.log.keep_plan(in_force),
                    plan_after=decision.plan_before,
                )
            )

    def apply(self, decision_id: str, now_s: float) -> Decision:
        """Carry out what a decision suggests.

        Raises:
            ConfigError: No suggestion has this id, the plan in force is no longer the one that it changes, or the
                gateway cannot execute its plan.
        """
        decision = self.log.find(decision_id)
        if decision.outcome != SUGGESTED:
            raise ConfigError(f"{decision.id} suggests nothing", where="autopilot apply", fix="name a suggestion")
        with self._changing() as in_force:
            if self.log.keep_plan(in_force) != decision.plan_before:
                what = f"the plan in force is no longer the one that {decision.id} changes"
                raise ConfigError(what, where="autopilot apply", fix="decide again: meritorder autopilot once")
            return self._put(
                structs.replace(
                    decision,
                    id=next_id(self.log.read()),
                    at=f"{utc(now_s):%Y-%m-%dT%H:%M:%SZ}",
                    at_s=now_s,
                    outcome=APPLIED,
                    why=f"a person applied {decision.id}: {decision.why}",
                )
            )

    def _put(self, decision: Decision) -> Decision:
        """Record a person's decision and write its plan, unless the gateway cannot execute that."""
        refusal = self._refusal(self.log.plan(decision.plan_after))
        if refusal:
            raise ConfigError(f"the gateway cannot execute that plan: {refusal}", where="autopilot")
        self._record(decision)
        return decision

    def _record(self, decision: Decision) -> None:
        """Record a decision, then write its plan; a kill in between is mended before the next change."""
        self.log.append(decision)
        if decision.outcome in _CHANGING:
            self._write(self.log.plan(decision.plan_after))
        if self._settings.webhook:
            self._announce(decision)

    def _announce(self, decision: Decision) -> None:
        """Queue the event of a decision; without the store, the log alone has it."""
        from meritorder.gateway.app.administration import Administration  # noqa: PLC0415 - database drivers

        with contextlib.suppress(MeritorderError, StoreUnavailableError), Administration(self._config) as store:
            store.announce("autopilot.decision", decision.id, outcome=decision.outcome, why=decision.why)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Plan]:
        """Yield the plan in force, which no other process changes meanwhile."""
        self.log.folder.mkdir(parents=True, exist_ok=True)
        with (self.log.folder / _CHANGE_LOCK).open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._finish_last()
            yield read_plan(self._plan_path)

    def _refusal(self, plan: Plan) -> str:
        """Return why the gateway cannot execute a plan; empty if it can."""
        path = self.log.folder / self.log.keep_plan(plan)
        try:
            match_plan(structs.replace(self._settings, plan=str(path)))
        except MeritorderError as error:
            return str(error)
        return ""

    def _finish_last(self) -> None:
        """Write the plan of the last change if a kill came between its record and its plan."""
        changes = [decision for decision in self.log.read() if decision.outcome in _CHANGING]
        if changes and self.log.keep_plan(read_plan(self._plan_path)) == changes[-1].plan_before:
            self._write(self.log.plan(changes[-1].plan_after))

    def _write(self, plan: Plan) -> None:
        files.write_bytes(self._plan_path, documents.encode(plan))


def run(
    autopilot: Autopilot,
    *,
    show: Callable[[Decision], None],
    report: Callable[[str], None],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look at each interval until interrupted; report what fails, and try it again the next time.

    Args:
        autopilot: The autopilot.
        show: Receives each decision.
        report: Receives each failure, a line.
        clock: Returns epoch seconds.
        sleep: Waits some seconds.
    """
    while True:
        try:
            decision = autopilot.step(clock())
        except MeritorderError as error:
            report(str(error))
        else:
            if decision is not None:
                show(decision)
        sleep(autopilot.options.check_s)
