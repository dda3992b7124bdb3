"""The record of decisions: one line of JSON each, beside the plans that were in force before and after."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from meritorder import documents
from meritorder.errors import ConfigError
from meritorder.records.autopilot import Decision
from meritorder.records.planfile import Plan, read_plan, write_plan

_LINES: Final = "decisions.jsonl"
_DIGITS: Final = 12


class DecisionLog:
    """The decisions in a folder.

    Args:
        folder: The folder; it is made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / _LINES

    def read(self) -> list[Decision]:
        """Return the decisions, the oldest first; a last line that a kill cut off does not count.

        Raises:
            ConfigError: A line is no decision.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(error.strerror or "cannot be read", where=str(self._path)) from error
        lines = content.split(b"\n")
        decoder = msgspec.json.Decoder(Decision)
        decisions = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                decisions.append(decoder.decode(line))
            except (msgspec.DecodeError, ValueError) as error:
                where = f"{self._path}: line {number}"
                raise ConfigError(f"no decision: {error}", where=where, fix="remove the line") from None
        return decisions

    def append(self, decision: Decision) -> None:
        """Write a decision durably, in place of a line that a kill cut off.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                file.seek(0)
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
                file.write(msgspec.json.encode(decision) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(error.strerror or "cannot be written", where=str(self._path)) from error

    def keep_plan(self, plan: Plan) -> str:
        """Keep a plan, and return its name."""
        content = documents.encode(plan)
        name = f"plan-{hashlib.sha256(content).hexdigest()[:_DIGITS]}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / name).exists():
            write_plan(plan, self.folder / name)
        return name

    def plan(self, name: str) -> Plan:
        """Return a plan that was kept."""
        return read_plan(self.folder / name)

    def find(self, decision_id: str) -> Decision:
        """Return a decision by its id, or by the beginning of it.

        Raises:
            ConfigError: No decision has it, or several have.
        """
        known = [decision for decision in self.read() if decision.id.startswith(decision_id)]
        if len(known) != 1 or not decision_id:
            what = f"{len(known) or 'no'} decisions have" if len(known) > 1 else "no decision has"
            raise ConfigError(f"{what} the id {decision_id!r}", where="autopilot", fix="see `meritorder autopilot log`")
        return known[0]


def next_id(decisions: Sequence[Decision]) -> str:
    """Return the id of the next decision."""
    return f"d{len(decisions) + 1:05d}"
