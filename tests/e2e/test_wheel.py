"""The wheel: every file is in it, and what is unpacked from it works away from a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACE = "arrived_at,input_tokens,output_tokens\n2026-01-05T00:00:00Z,900,200\n2026-01-05T00:00:20Z,1100,150\n"
ON_H100 = ("--model", "llama-3.1-8b", "--hardware", "h100")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_wheel_holds_every_file(unpacked: Path) -> None:
    source = ROOT / "src"
    files = {path.relative_to(source) for path in (source / "meritorder").rglob("*") if path.is_file()}
    expected = {path for path in files if "__pycache__" not in path.parts}
    assert {path.relative_to(unpacked) for path in (unpacked / "meritorder").rglob("*") if path.is_file()} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (("compare", "trace.csv", *ON_H100, "--html", "report.html", "--json", "answer.json"), "report.html"),
        (("plan", "trace.csv", *ON_H100, "--html", "plan.html"), "plan.html"),
        (("prices", "--model", "gpt-4.1-mini"), None),
        (("keys", "create", "someone", "--config", "gateway.toml"), "gateway.db"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_work_from_wheel(
    unpacked: Path, tmp_path: Path, arguments: tuple[str, ...], written: str | None
) -> None:
    (tmp_path / "trace.csv").write_text(TRACE, encoding="utf-8")
    (tmp_path / "gateway.toml").write_text('[store]\nurl = "sqlite:///gateway.db"\n', encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        "import meritorder, meritorder.__main__ as run; print(meritorder.__file__); run.main()",
    ]
    done = subprocess.run(
        [*command, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[0]).is_relative_to(unpacked)
    assert written is None or (tmp_path / written).stat().st_size > 0
