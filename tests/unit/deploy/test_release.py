"""What a tag must agree with, and the lint of the workflow and the container recipe."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
RELEASED = "# Changelog\n\n## [1.2.0] - 2026-12-01\n\n### Added\n\n## [1.1.0] - 2026-11-01\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_release", ROOT / "deploy" / "check_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "expected"),
    [
        ("v1.2.0", "1.2.0", RELEASED, None),
        ("v1.2.1", "1.2.0", RELEASED, "the tag is v1.2.1, and the version of the package is 1.2.0"),
        ("1.2.0", "1.2.0", RELEASED, "the tag is 1.2.0, and the version of the package is 1.2.0"),
        ("v1.3.0", "1.3.0", RELEASED, "CHANGELOG.md has no section [1.3.0]"),
        (
            "v1.2.0",
            "1.2.0",
            RELEASED.replace("2026-12-01", "unreleased"),
            "CHANGELOG.md: [1.2.0] is dated 'unreleased'; write the day of the release",
        ),
    ],
)
def test_tag_agrees_with_version_and_changelog(
    script: ModuleType, tag: str, version: str, changelog: str, expected: str | None
) -> None:
    assert script.problem(tag, f'"""A package."""\n\n__version__ = "{version}"\n', changelog) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("hadolint", ["deploy/Dockerfile"]),
        ("zizmor", ["--offline", "--no-progress", ".github/workflows/release.yml"]),
        ("check-jsonschema", ["--builtin-schema", "vendor.github-workflows", ".github/workflows/release.yml"]),
        ("check-jsonschema", ["--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"]),
    ],
    ids=["recipe", "workflow", "workflow-schema", "compose-schema"],
)
def test_files_pass_lint(tool: str, arguments: list[str]) -> None:
    program = Path(sys.executable).with_name(tool)
    if not program.exists():
        pytest.skip(f"no {tool}: pip install -e '.[dev,deploy]'")
    done = subprocess.run([str(program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
