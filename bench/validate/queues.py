"""Waiting times against queueing theory, a selection of tests/oracle/test_queueing.py that takes a minute."""

from dataclasses import dataclass

from tests.oracle.test_queueing import (
    cobham,
    constant,
    erlang_c,
    exponential,
    mean_waits_s,
    pollaczek_khinchine,
    two_kinds,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue: mean wait in units of the mean service, simulated and exact."""

    name: str
    load: float
    simulated: float
    exact: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table, as text."""
        error = f"{self.simulated / self.exact - 1:+.1%}"
        return self.name, f"{self.load}", f"{self.simulated:.3f}", f"{self.exact:.3f}", error


def queues() -> list[Queue]:
    """Return mean waits at loads 0.7 and 0.9."""
    found = []
    for load, samples in ((0.7, 2), (0.9, 4)):
        found += [
            Queue(
                name="M/M/1",
                load=load,
                simulated=mean_waits_s(samples, load=load, servers=1, realtime=exponential)[0],
                exact=load / (1 - load),
            ),
            Queue(
                name="M/M/3",
                load=load,
                simulated=mean_waits_s(samples, load=load, servers=3, realtime=exponential)[0],
                exact=erlang_c(load, 3) / (3 * (1 - load)),
            ),
            Queue(
                name="M/D/1",
                load=load,
                simulated=mean_waits_s(samples, load=load, servers=1, realtime=constant)[0],
                exact=pollaczek_khinchine(load, 1.0),
            ),
            *_priorities(load, samples),
        ]
    return found


def _priorities(load: float, samples: int) -> list[Queue]:
    waits = mean_waits_s(
        samples, load=load, servers=1, realtime=two_kinds, deferrable=exponential, deferrable_share=0.4
    )
    exact = cobham((0.6 * load, 0.4 * load), (1.5, 2.0))
    names = ("M/G/1, real-time before deferrable: real time", "M/G/1, real-time before deferrable: deferrable")
    return [Queue(name=n, load=load, simulated=w, exact=x) for n, w, x in zip(names, waits, exact, strict=True)]
