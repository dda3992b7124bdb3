"""Find the places of the code that can be mutated, and sample them."""

import ast
import hashlib
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = Path("src/meritorder")

_CHANGES: Final = {
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul", "BitAnd_BitOr",
    "BitOr_BitAnd", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq",
    "NotEq_Eq", "Is_IsNot", "IsNot_Is", "USub_UAdd", "Not_Nothing",
}  # fmt: skip
"""Replacements of operators that could be mistakes of a programmer; others fail on their types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mutation: an operator's nth occurrence in a file, and the lines that it touches."""

    target: str
    path: Path
    operator: str
    occurrence: int
    first_line: int
    last_line: int
    name: str
    """The file, the operator, the text of the lines and its count: the same after edits elsewhere in the file."""

    def mutated(self, source: str) -> str | None:
        """Return the source with the mutation applied, None where there is nothing to mutate."""
        return mutate_code(source, get_operator(self.operator)(), self.occurrence)


def find_mutants(targets: Sequence[str], only: str, seed: int) -> list[Mutant]:
    """Return one mutation for each place of the target files that an operator fits, in the order of the targets.

    A place that several replacements fit (`<` to `<=` or to `>=`) gets one of them by chance.
    """
    mutants = []
    for target in targets:
        files = [file.relative_to(ROOT) for file in sorted((ROOT / PACKAGE).glob(target)) if only in str(file)]
        places: dict[tuple[Path, str, tuple[int, int]], list[Mutant]] = defaultdict(list)
        for family, position, mutant in _mutations(target, files):
            places[mutant.path, family, position].append(mutant)
        mutants += [min(places[place], key=lambda mutant: _draw(mutant, seed)) for place in sorted(places)]
    return mutants


def sample(mutants: Iterable[Mutant], size: int, seed: int) -> list[Mutant]:
    """Return a random sample in the order of the mutants; edits of other lines do not change who is drawn."""
    mutants = list(mutants)
    drawn = {mutant.name for mutant in sorted(mutants, key=lambda mutant: _draw(mutant, seed))[:size]}
    return [mutant for mutant in mutants if mutant.name in drawn]


def _draw(mutant: Mutant, seed: int) -> str:
    return hashlib.sha256(f"{seed} {mutant.name}".encode()).hexdigest()


def _mutations(target: str, files: Sequence[Path]) -> Iterable[tuple[str, tuple[int, int], Mutant]]:
    """Yield the family of the operator, the position and the mutant, for each mutation that is not left out."""
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/session.sqlite") as database:
        init(files, database, {})
        mutations = [mutation for item in database.work_items for mutation in item.mutations]
    for mutation in sorted(mutations, key=lambda item: (item.module_path, item.operator_name, item.occurrence)):
        operator, path = mutation.operator_name, Path(mutation.module_path)
        family, *change = operator.removeprefix("core/").split("_", 1)
        if (change and change[0] not in _CHANGES) or _is_left_out(path, mutation.start_pos, mutation.end_pos):
            continue
        if family == "ExceptionReplacer" and _is_dotted(path, mutation.start_pos, mutation.end_pos):
            continue
        first, last = mutation.start_pos[0], mutation.end_pos[0]
        text = " ".join(line.strip() for line in _lines(path)[first - 1 : last])
        place = f"{path.relative_to(PACKAGE)} {operator} {text}"
        seen[place] += 1
        mutant = Mutant(
            target=target,
            path=path,
            operator=operator,
            occurrence=mutation.occurrence,
            first_line=first,
            last_line=last,
            name=f"{place} {seen[place]}",
        )
        yield family, mutation.start_pos, mutant


def _is_left_out(path: Path, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether a span is in an annotation or in the options of a dataclass, or is a star that is not an operator."""
    line, column = _lines(path)[start[0] - 1], start[1]
    # The formatter puts spaces around a product, and none before a power of a name or number.
    unpacks = re.match(r"\*\*?[^\s*]", line[column:]) is not None and line[:column][-1:] in {"", " ", "(", "[", "{"}
    return unpacks or any(first <= start and end <= last for first, last in _declarations(path))


def _is_dotted(path: Path, start: tuple[int, int], end: tuple[int, int]) -> bool:
    """Whether a span has a dot: Cosmic Ray cannot replace an exception with the name of its module before it."""
    return "." in _lines(path)[start[0] - 1][start[1] : end[1]]


@cache
def _lines(path: Path) -> list[str]:
    return (ROOT / path).read_text(encoding="utf-8").splitlines()


@cache
def _declarations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans of annotations and of the options of dataclasses."""
    nodes = list(ast.walk(ast.parse("\n".join(_lines(path)))))
    parts = [part for node in nodes for part in (getattr(node, "annotation", 0), getattr(node, "returns", 0))]
    decorators = [decorator for node in nodes if isinstance(node, ast.ClassDef) for decorator in node.decorator_list]
    parts += [option.value for call in decorators if isinstance(call, ast.Call) for option in call.keywords]
    return [
        ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
        for part in parts
        if isinstance(part, ast.expr)
    ]
