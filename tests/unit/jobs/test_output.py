"""The folder of a job's answers: files are whole, and each id has one answer."""

from pathlib import Path

import pytest

from meritorder.errors import ConfigError

pytest.importorskip("ray", reason="needs the extra `ray`")

import pyarrow as pa
from pyarrow import parquet

from meritorder.jobs.output import OutputFolder, hash_ids
from meritorder.jobs.spending import Tokens


def answers(*ids: str, tokens: int = 1) -> list[dict[str, object]]:
    return [{"id": row_id, "input_tokens": tokens, "output_tokens": 2 * tokens} for row_id in ids]


def test_stored_ids_are_known_again(tmp_path: Path) -> None:
    OutputFolder(str(tmp_path / "out")).write(answers("a", "b"))
    stored = OutputFolder(str(tmp_path / "out")).remove_repeated()
    assert sorted(stored.hashes) == sorted(hash_ids(["a", "b"]))
    assert stored.repeated == 0


def test_later_answer_of_an_id_is_removed(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path))
    folder.write(answers("a", "b", tokens=1))
    folder.write(answers("b", "c", "c", tokens=10))
    stored = folder.remove_repeated()
    assert (stored.hashes.size, stored.repeated) == (3, 2)
    assert folder.totals().tokens == Tokens(1 + 1 + 10, 2 + 2 + 20)
    assert stored.repeated_tokens == Tokens(10 + 10, 20 + 20)
    assert folder.remove_repeated().repeated == 0


def test_later_files_are_read_alone(tmp_path: Path) -> None:
    folder = OutputFolder(str(tmp_path))
    folder.write(answers("a"))
    newest = folder.remove_repeated().newest
    folder.write(answers("b"))
    assert folder.hashes(after=newest).tolist() == hash_ids(["b"]).tolist()


def test_unfinished_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".0001.parquet.part").write_bytes(b"PAR1 cut")
    assert OutputFolder(str(tmp_path)).remove_repeated().hashes.size == 0


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(ConfigError, match=r"notes\.parquet.*no file of answers"):
        OutputFolder(str(tmp_path)).remove_repeated()


def test_other_tables_are_never_changed(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"id": ["a", "a"], "prompt": ["x", "y"]}), rows)
    before = rows.read_bytes()
    with pytest.raises(ConfigError, match=r"rows\.parquet.*its columns are others"):
        OutputFolder(str(tmp_path)).remove_repeated()
    assert rows.read_bytes() == before
