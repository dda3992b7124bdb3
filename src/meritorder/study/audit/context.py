"""What every kind of finding may look at beside the ledger."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import Machine
from meritorder.study.audit.silent import Silence
from meritorder.study.audit.use import Use

_A_TRACE = "requests.csv"
_A_MODEL = "MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every kind of finding may look at beside the ledger.

    Args:
        market: Prices.
        use: What the machines did; None if only the bill is known.
        silence: Endpoints that nobody calls.
        bill: The bill's files, as the user named them.
        trace: The trace's files, as the user named them.
        model: Model that the machines serve, "" if the user does not say.
    """

    market: Market
    use: Use | None
    bill: tuple[Path | str, ...]
    trace: tuple[str, ...] = ()
    model: str = ""
    silence: Silence = field(default_factory=Silence)

    @property
    def bill_words(self) -> str:
        """The bill, as arguments of a command."""
        return " ".join(shlex.quote(str(path)) for path in self.bill)

    @property
    def plan(self) -> str:
        """The command that finds the cheapest plan at the bill's own prices, with the commitments that run."""
        words = [f"--bill {shlex.quote(str(path))}" for path in self.bill] or ["--bill BILL"]
        return f"meritorder plan {self._trace} --model {self._model} {' '.join(words)}"

    def compare(self, machine: Machine | None = None, *, hardware: str = "", region: str = "", more: str = "") -> str:
        """Return the command that compares arrangements of the trace.

        Args:
            machine: On what machines it runs now; None if on none.
            hardware: `Hardware.id` to run on, "" for the machine's own.
            region: Region to rent in, "" for any.
            more: Further options.
        """
        known = self.market.hardware_of(machine) if machine else None
        options = {
            "--hardware": hardware or (known[0] if known else ""),
            "--provider": machine.provider if machine else "",
            "--region": region,
        }
        words = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
        return " ".join(["meritorder compare", self._trace, f"--model {self._model}", *words, *filter(None, [more])])

    @property
    def _trace(self) -> str:
        return " ".join(map(shlex.quote, self.trace)) or _A_TRACE

    @property
    def _model(self) -> str:
        return shlex.quote(self.model) if self.model else _A_MODEL
