"""Draw the architecture from the imports: one SVG for the packages, one for the parts of the gateway.

    python tools/draw_architecture.py docs

Floors are the layers of `.importlinter`; lines are the imports in the code, wider for more
of them. A test compares the parts and arrows of the committed files with a fresh drawing.
"""

import configparser
import html
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src"
_WIDTH, _MARGIN, _BOX_HEIGHT, _FLOOR_HEIGHT, _GAP = 980, 24, 46, 104, 14
_MAX_BOX_WIDTH: Final = 190
_INK, _PAPER, _BOX, _EDGE = "#1f2328", "#ffffff", "#e8f1fa", "#0072b2"
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A package or module on its floor; coordinates are those of its top left corner, in pixels."""

    name: str
    title: str
    files: int
    lines: int
    x: float
    y: float
    width: float


def layers_of(contract: str) -> list[list[str]]:
    """Return the layers of a contract in `.importlinter`, highest first, each with its modules."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    text = parser[f"importlinter:contract:{contract}"]["layers"]
    return [
        [name.strip(" ()") for name in line.replace(":", "|").split("|")] for line in text.splitlines() if line.strip()
    ]


def draw(root: str, layers: Sequence[Sequence[str]]) -> str:
    """Return an SVG of the modules of `root` on their floors, and of the imports between them.

    Args:
        root: Package whose direct children are drawn, such as `meritorder`.
        layers: Names of the children by floor, highest floor first.
    """
    graph = grimp.build_graph("meritorder")
    boxes = {box.name: box for number, names in enumerate(layers) for box in _floor(root, names, number)}
    counts: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = _child(root, importer), _child(root, imported)
            if ends[0] in boxes and ends[1] in boxes and ends[0] != ends[1]:
                counts[ends] += 1
    height = 2 * _MARGIN + (len(layers) - 1) * _FLOOR_HEIGHT + _BOX_HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="{_FONT}">',
            f"<title>Imports between the parts of {root}</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
            *(_line(boxes[start], boxes[end], number) for (start, end), number in sorted(counts.items())),
            *(_drawn(box) for box in boxes.values()),
            "</svg>\n",
        ]
    )


def _child(root: str, module: str) -> str:
    """Return the name of the direct child of `root` that contains a module, "" if none does."""
    return module.removeprefix(f"{root}.").split(".")[0] if module.startswith(f"{root}.") else ""


def _floor(root: str, names: Sequence[str], number: int) -> Iterable[Box]:
    """Yield the boxes of a floor, side by side in the middle."""
    width = min(_MAX_BOX_WIDTH, (_WIDTH - 2 * _MARGIN - (len(names) - 1) * _GAP) / len(names))
    left = (_WIDTH - len(names) * width - (len(names) - 1) * _GAP) / 2
    for place, name in enumerate(names):
        path = SOURCE.joinpath(*root.split("."), name)
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        docstring = files[0].read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        yield Box(
            name=name,
            title=docstring,
            files=len(files),
            lines=sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files),
            x=left + place * (width + _GAP),
            y=_MARGIN + number * _FLOOR_HEIGHT,
            width=width,
        )


def _line(start: Box, end: Box, number: int) -> str:
    """Return a curve from the importer's lower edge to the upper edge of what it imports.

    Between boxes of the same column, the curve goes around the boxes between them.
    """
    x1, y1 = start.x + start.width / 2, start.y + _BOX_HEIGHT
    x2, y2 = end.x + end.width / 2, end.y
    floors = round((end.y - start.y) / _FLOOR_HEIGHT)
    if floors > 1 and abs(x1 - x2) < start.width / 2:
        side = 1 if round(start.y / _FLOOR_HEIGHT) % 2 else -1
        x1, x2 = x1 + side * start.width / 2, x2 + side * end.width / 2
        y1, y2 = start.y + _BOX_HEIGHT / 2, end.y + _BOX_HEIGHT / 2
        bend = side * 34 * floors
        curve = f"{x1 + bend:.1f} {y1:.1f} {x2 + bend:.1f} {y2:.1f}"
    else:
        middle = (y1 + y2) / 2
        curve = f"{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f}"
    imports = "import" if number == 1 else "imports"
    return (
        f'<path d="M{x1:.1f} {y1:.1f}C{curve} {x2:.1f} {y2:.1f}" fill="none" stroke="{_EDGE}" stroke-opacity="0.35" '
        f'stroke-width="{0.8 + 0.5 * number**0.5:.2f}">'
        f"<title>{start.name} to {end.name}: {number} {imports}</title></path>"
    )


def _drawn(box: Box) -> str:
    size = f"{box.files} files, {box.lines:,} lines" if box.files > 1 else f"{box.lines} lines"
    center = box.x + box.width / 2
    return (
        f'<g><title>{html.escape(box.title)}</title><rect x="{box.x:.1f}" y="{box.y}" width="{box.width:.1f}" '
        f'height="{_BOX_HEIGHT}" rx="6" fill="{_BOX}" stroke="{_EDGE}"/>'
        f'<text x="{center:.1f}" y="{box.y + 20}" text-anchor="middle" font-size="14" font-weight="600" '
        f'fill="{_INK}">{box.name}</text>'
        f'<text x="{center:.1f}" y="{box.y + 36}" text-anchor="middle" font-size="11" fill="{_INK}">{size}</text></g>'
    )


PICTURES: Final = {
    "architecture.svg": ("meritorder", "layers"),
    "architecture-gateway.svg": ("meritorder.gateway", "gateway-layers"),
}
"""File name to the package that is drawn and the contract that states its floors."""


def main() -> None:
    """Write every picture into the folder that is named on the command line."""
    folder = Path(sys.argv[1])
    for name, (root, contract) in PICTURES.items():
        (folder / name).write_text(draw(root, layers_of(contract)), encoding="utf-8")


if __name__ == "__main__":
    main()
