"""Files of jobs: each row is read once, in whatever parts, and nothing in one ends the job."""

import gzip
import json
from pathlib import Path

import pytest

from meritorder.errors import ConfigError

pytest.importorskip("ray", reason="needs the extra `ray`")

import pyarrow as pa
from pyarrow import ipc, parquet

from meritorder.jobs import sources


def read(path: Path, most_bytes: int = 2**30) -> list[dict[str, object]]:
    """Read a file in parts of at most a size, as the tasks of Ray do."""
    name, kind = str(path), sources._kind(path.name)
    parts = sources._split(name, kind, path.stat().st_size, most_bytes)
    return [row for part in parts for block in sources._READERS[kind](part) for row in block.to_pylist()]


@pytest.mark.parametrize("most_bytes", [1, 2, 3, 7, 10, 1000])
def test_parts_have_each_line_once(tmp_path: Path, most_bytes: int) -> None:
    lines = [b"a", b"", b"bcd", b"x" * 30, "e\u2028f\x0bg".encode(), b"\xff", b"last"]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    read_lines = [row[sources.LINE].rstrip(b"\n") for row in read(tmp_path / "rows.jsonl", most_bytes)]
    assert read_lines == [line for line in lines if line]


def test_row_groups_have_each_row_once(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": range(25)}), tmp_path / "rows.parquet", row_group_size=4)
    for most_bytes in (1, 300, 2**30):
        assert [row["id"] for row in read(tmp_path / "rows.parquet", most_bytes)] == list(range(25))


def test_csv_keeps_text_as_written(tmp_path: Path) -> None:
    text = '\ufeffid,prompt\n007,"two\nlines, quoted"\n8,\n9,cut,here\n'
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    rows = read(tmp_path / "rows.csv")
    assert rows[0] == {"id": "007", "prompt": "two\nlines, quoted", sources.FAULT: None}
    assert rows[1]["prompt"] is None
    assert rows[2][sources.FAULT] == "has 3 cells, but the file has 2 columns"


def test_saved_dataset_is_read(tmp_path: Path) -> None:
    # As `datasets.save_to_disk` lays out a dataset of two splits: Arrow's stream format, beside notes and caches.
    for split, start in (("train", 0), ("test", 3)):
        (tmp_path / split).mkdir()
        table = pa.table({"id": range(start, start + 3), "prompt": ["x"] * 3})
        for name in ("data-00000-of-00001.arrow", "cache-1f2e.arrow"):
            with ipc.new_stream(tmp_path / split / name, table.schema) as writer:
                writer.write_table(table)
        (tmp_path / split / "state.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text("{}")
    files = sources.files_of(str(tmp_path))
    assert [Path(file).parent.name for file in files] == ["test", "train"]
    assert [row["id"] for file in files for row in read(Path(file))] == [3, 4, 5, 0, 1, 2]


def test_arrow_file_format_is_read(tmp_path: Path) -> None:
    table = pa.table({"id": range(2500)})
    with ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    assert [row["id"] for row in read(tmp_path / "rows.arrow")] == list(range(2500))


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt\n1,x\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "x"}))
    with pytest.raises(ConfigError, match=r"several kinds: \.csv, \.jsonl"):
        sources.read_files([str(tmp_path)], tasks=1, readers=1, num_cpus=1.0)


def test_folder_is_read_without_notes_of_tools(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "part.jsonl.gz", "wt") as file:
        file.write('{"prompt": "x"}\n')
    (tmp_path / ".cache").mkdir()
    for name in ("dataset_info.json", "README.txt", "_SUCCESS.jsonl", ".cache/part.jsonl"):
        (tmp_path / name).write_text("{}")
    assert sources.files_of(str(tmp_path)) == [str(tmp_path / "data" / "part.jsonl.gz")]


@pytest.mark.parametrize("name", ["missing.jsonl", "rows.xyz", "empty"])
def test_unreadable_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.xyz").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=name):
        sources.files_of(str(tmp_path / name))
