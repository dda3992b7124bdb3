"""Which format a file is in."""

from pathlib import Path

from tests.samples.trace_files import refused, written


def test_unknown_format_lists_known_ones(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "a,b\n1,2\n"))
    for name in (
        "azure",
        "mooncake",
        "burstgpt",
        "openai_batch",
        "litellm",
        "bench",
        "columns",
        "--columns arrival=",
    ):
        assert name in message
