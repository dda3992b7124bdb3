"""Where inputs lie: paths, globs, folders, pipes; devices are refused."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meritorder.errors import InputError
from meritorder.inputs import places
from meritorder.inputs.places import ScratchFolder, locate


def names(named: str | Path, **options: object) -> list[str]:
    return [Path(file.name).name for file in locate(named, ScratchFolder(), **options)]


def test_globs_and_folders_are_expanded(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.csv", "a.csv", "c.txt", "sub/d.csv"):
        (tmp_path / name).write_text("x")
    assert names(str(tmp_path / "*.csv")) == ["a.csv", "b.csv"]
    assert names(str(tmp_path / "**/*.csv")) == ["a.csv", "b.csv", "d.csv"]
    assert names(tmp_path, suffixes=(".csv",)) == ["a.csv", "b.csv", "d.csv"]
    with pytest.raises(InputError, match="is a folder; name its files"):
        names(tmp_path)


def test_names_that_look_like_globs_are_files(tmp_path: Path) -> None:
    (tmp_path / "log[1].csv").write_text("x")
    assert names(tmp_path / "log[1].csv") == ["log[1].csv"]


def test_pipe_is_copied(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    scratch = ScratchFolder()
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_bytes, b"x" * 300_000)
        (file,) = locate(pipe, scratch)
    assert file.path.stat().st_size == 300_000
    scratch.remove()
    assert not file.path.exists()


def test_silent_pipe_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(places, "_FIRST_BYTE_S", 0.01)
    with pytest.raises(InputError, match="nothing was written to this pipe"):
        names(tmp_path / "pipe")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_devices_are_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"{device}: (is a device, not a file|cannot be read)"):
        names(device)


def test_endless_standard_input_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_PIPED_BYTES", 3 << 20)
    with Path("/dev/zero").open("rb") as zeros:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(zeros))
        with pytest.raises(InputError, match="stdin: more than 0 GiB came through a pipe; write it to a file"):
            names("-")


def test_missing_files_are_named() -> None:
    for name in ("nowhere", "nowhere*.csv"):
        with pytest.raises(InputError, match="no such file; name a file, a glob, a URL, or - for standard input"):
            names(name)
