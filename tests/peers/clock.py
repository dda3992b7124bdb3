"""Meritorder by a clock that is set while it runs: `python -m tests.peers.clock FILE serve …`.

FILE says by how many seconds the clock of the day is wrong. The monotonic clock goes on as it does.
"""

import sys
import time
from pathlib import Path

from meritorder import cli


def main() -> None:
    """Run."""
    file, right_s = Path(sys.argv.pop(1)), time.time
    time.time = lambda: right_s() + float(file.read_text(encoding="utf-8") or 0.0)  # type: ignore[assignment]
    cli.main()


if __name__ == "__main__":
    main()
