import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.report.files import check_target, write_bytes, write_text


def test_file_appears_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "out.html", "grüß\n")
    assert (tmp_path / "out.html").read_bytes() == "grüß\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_file_modes_are_kept(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "new", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_bytes(tmp_path / "new", b"2")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        write_text(tmp_path / "none" / "out.json", "x")
    with pytest.raises(ConfigError, match="is a folder"):
        write_text(tmp_path, "x")


def test_failed_write_keeps_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_interruption_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "out.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_device_is_written_not_replaced() -> None:
    null = Path("/dev/null")
    check_target(null, null)
    write_text(null, "text")
    assert stat.S_ISCHR(null.stat().st_mode)
    with pytest.raises(ConfigError, match="/dev/full: cannot be written: No space left"):
        write_text(Path("/dev/full"), "text")


def test_pipe_gets_all_bytes(tmp_path: Path) -> None:
    """More than a pipe holds at once, so that the writer has to go on after a partial write."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = os.urandom(300_000)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        write_bytes(pipe, content)
    assert read.result() == content
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_closed_pipe_is_one_line() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(ConfigError, match="cannot be written: Broken pipe"):
        write_text(Path(f"/dev/fd/{writer}"), "text")
    os.close(writer)
