"""Run a command that ends when its parent does, however the parent ends.

    python leash.py GRACE_S COMMAND...

Standard input is the leash: when it is closed, by the parent or by its death, the command and all that it started are
asked to end, and after the grace they are made to. Kept to the standard library: it starts in an instant.
"""

import os
import signal
import subprocess
import sys
import threading


def _wait_for_release() -> None:
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
    # A signal to the parent's group, such as Ctrl-C, is for the parent to pass on. Handlers are not inherited.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        # The user's own command, without a shell.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127

    def hold() -> None:
        _wait_for_release()
        _end(child, float(grace_s))

    threading.Thread(target=hold, daemon=True).start()
    code = child.wait()
    # What it started and left behind would hold memory and the port.
    _end(child, 0.0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
