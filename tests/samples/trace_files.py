"""Trace files of a few lines, and the real ones of the shared folder."""

import json
from pathlib import Path

import pytest

from meritorder import traces
from meritorder.errors import TraceError
from meritorder.traces.read import read_trace

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
HEADER = "arrived_s,input_tokens,output_tokens\n"


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real file at {path}: the folder ../shared/data is not beside the project")
    return path


def written(tmp_path: Path, content: str | bytes, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(*records: dict[str, object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def refused(path: Path | str, **options: object) -> str:
    with pytest.raises(TraceError) as caught:
        read_trace([path], **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


LENGTHS = ("arrived_s", "input_tokens", "cached_tokens", "output_tokens")


def cells(trace: traces.Trace, *columns: str) -> list[tuple[object, ...]]:
    return trace.requests.select(columns).rows()
