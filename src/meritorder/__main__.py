"""Runs the command line: `meritorder`, or `python -m meritorder`."""

import sys


def main() -> None:
    """Run the command line; an interruption while it is loaded ends like any other."""
    try:
        from meritorder import cli  # noqa: PLC0415  (takes most of the time until the command starts)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written\n")
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
