"""Run a command that ends when its parent process does, however the parent ends.

    python parent_watchdog.py GRACE_S COMMAND...

The parent holds the other end of standard input. When it is closed, by the parent or by its death, the command and its
children get SIGTERM, and SIGKILL after the grace period. Imports only the standard library, to start fast.
"""

import os
import signal
import subprocess
import sys
import threading


def _wait_for_close() -> None:
    while os.read(0, 4096):
        pass


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, signal_number)
        except ProcessLookupError:
            return
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue


def main() -> int:
    """Run the command; return its exit code, or 128 and its signal."""
    grace_s, *command = sys.argv[1:]
    # The parent handles signals to its group, such as Ctrl-C. Handlers are not inherited by the command.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        # The user's command, run without a shell.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127

    def watch() -> None:
        _wait_for_close()
        _end(child, float(grace_s))

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    # Children left behind would keep memory and the port.
    _end(child, 0.0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
