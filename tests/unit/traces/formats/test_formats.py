"""Which format a file is in."""

from pathlib import Path

from tests.samples.trace_files import refused, written


def test_unknown_format_asks_for_columns(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "a,b\n1,2\n"))
    assert "the columns a, b match no known format; name the columns with --columns arrival=" in message
