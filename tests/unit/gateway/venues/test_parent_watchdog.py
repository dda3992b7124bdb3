"""The watchdog of an engine's process, run as the gateway runs it."""

import os
import signal
import subprocess
import sys

import pytest

from meritorder.gateway.venues import parent_watchdog

PRINTS_CHILD_AND_WAITS = "sleep 60 & echo $!; wait"
IGNORES_TERMINATION = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def start(*command: str, grace_s: float = 5.0) -> "subprocess.Popen[str]":
    """Start a command under the watchdog; its input is closed only by the test, as by the death of the parent."""
    return subprocess.Popen(
        [sys.executable, "-I", parent_watchdog.__file__, str(grace_s), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 128 + signal.SIGKILL)])
def test_exit_code_is_the_commands(script: str, code: int) -> None:
    with start("sh", "-c", script) as process:
        assert process.wait(10) == code


def test_missing_command_is_named() -> None:
    with start("no-such-engine") as process:
        assert process.wait(10) == 127
        assert process.stderr is not None
        assert process.stderr.read() == "no-such-engine: No such file or directory\n"


def test_closed_input_ends_all_children() -> None:
    with start("sh", "-c", PRINTS_CHILD_AND_WAITS) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), 0)  # the child runs
        process.stdin.close()
        assert process.wait(10) == 128 + signal.SIGTERM
        assert process.stdout.read() == "", "the output ends only when the child has ended too"


def test_stubborn_command_is_killed() -> None:
    with start("sh", "-c", IGNORES_TERMINATION, grace_s=0.1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(10) == 128 + signal.SIGKILL


def test_interrupt_is_left_to_parent() -> None:
    """Ctrl-C reaches the whole group; the gateway then decides when the engine ends."""
    with start("sh", "-c", "echo ready; sleep 0.3; exit 3") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 3
