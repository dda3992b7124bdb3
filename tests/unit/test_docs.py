"""The documents name what is there: files, formats, options."""

import re
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from meritorder.bills.formats import FORMATS as BILL_FORMATS
from meritorder.cli import app
from meritorder.errors import MeritorderError
from meritorder.gateway.config import VenueKind
from meritorder.planner.model import constraints
from meritorder.records.findings import SCOPES, FindingKind
from meritorder.report.audit.words import KINDS
from meritorder.study.audit.answer import _REASONS
from meritorder.traces.could_wait import BURST_THRESHOLD, CLOCK_THRESHOLD, NO_THINKING_THRESHOLD, SAME_PROMPT_THRESHOLD
from meritorder.traces.formats import FORMATS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)]
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)]+))?\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = {
    *("--save-detailed", "--enable-metrics", "--metrics", "--no-deps", "--from-literal", "--from-file"),
    *("--data-parallel-size", "--enable-dp-attention"),
}


def _options() -> set[str]:
    top = typer.main.get_command(app)
    return {
        option
        for command in (top, *top.commands.values())  # type: ignore[attr-defined]
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_options_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target, _ in LINK.findall(text):
        assert target.startswith("https://") or (document.parent / target).exists(), target
    assert set(OPTION.findall(text)) - _options() <= OF_OTHERS


def test_named_source_files_exist() -> None:
    for document in DOCUMENTS:
        for path in re.findall(r"`((?:\w+/)+\w+\.py)`", document.read_text(encoding="utf-8")):
            assert (ROOT / path).exists() or (ROOT / "src/meritorder" / path).exists(), f"{document.name}: {path}"


def test_anchors_are_headings() -> None:
    for document in DOCUMENTS:
        for target, anchor in LINK.findall(document.read_text(encoding="utf-8")):
            if anchor:
                headings = re.findall(
                    r"^#+ (.+)$", (document.parent / target).read_text(encoding="utf-8"), re.MULTILINE
                )
                slugs = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{document.name}: {target}#{anchor}"


def test_every_format_and_threshold_is_described() -> None:
    text = (ROOT / "docs" / "reference" / "traces.md").read_text(encoding="utf-8")
    assert all(f"| `{known.name}` |" in text for known in FORMATS)
    for threshold in (BURST_THRESHOLD, CLOCK_THRESHOLD, SAME_PROMPT_THRESHOLD, NO_THINKING_THRESHOLD):
        assert f"more than {threshold:.0%}".replace("%", " %") in text


def test_every_venue_kind_is_described() -> None:
    text = (ROOT / "docs" / "reference" / "venues.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in VenueKind)


def test_every_constraint_is_described() -> None:
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    described = set(re.findall(r"`(define_\w+)`", text))
    assert described == {name for name in vars(constraints) if name.startswith("define_")} - {"define_variables"}


def test_bill_figures_and_findings_are_described() -> None:
    text = (ROOT / "docs" / "reference" / "bills.md").read_text(encoding="utf-8")
    assert all(f"`{known.name}`" in text for known in BILL_FORMATS)
    assert all(f"| `{kind}` |" in text for kind in get_args(FindingKind))
    assert all(f"`{figure}`" in text for figure in SCOPES)
    assert set(KINDS) == set(_REASONS) == set(get_args(FindingKind))


def test_documented_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\bmake ([a-z-]+)\b  +#|`make ([a-z-]+)`", document.read_text(encoding="utf-8")):
            assert f"\n{''.join(target)}: " in makefile, target


def test_every_error_is_in_the_tree() -> None:
    from meritorder import errors

    classes = [
        error_class
        for error_class in vars(errors).values()
        if isinstance(error_class, type) and issubclass(error_class, MeritorderError)
    ]
    assert all(error_class.__name__ in (errors.__doc__ or "") for error_class in classes)
