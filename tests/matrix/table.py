"""Measure the matrix and write its table into docs/models.md: `python -m tests.matrix.table`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.matrix import warm
from tests.matrix.cells import ENGINES, Cell, row
from tests.matrix.models import MODELS

PAGE = Path(__file__).parents[2] / "docs/models.md"
HEAD = f"| model | {' | '.join(ENGINES)} |"


def lines(rows: Mapping[str, Mapping[str, Cell]]) -> Iterator[str]:
    """Yield the lines of the table: the head, a line for each model, and how many agree in each engine."""
    yield HEAD
    yield "|---" * (1 + len(ENGINES)) + "|"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(_shown(cells[title]) for title in ENGINES)} |"
    counts = (sum(cells[title].verdict == "agrees" for cells in rows.values()) for title in ENGINES)
    yield f"| agree, of {len(rows)} | {' | '.join(map(str, counts))} |"


def read(page: Path = PAGE) -> dict[str, dict[str, str]]:
    """Return the cells of the table in a page, by the models' names and the engines' titles; the counts are no row."""
    text = page.read_text()
    table = text[text.index(HEAD) :].partition("\n\n")[0].splitlines()[2:]
    parted = [[cell.strip() for cell in re.split(r" \| |^\| | \|$", line)[1:-1]] for line in table]
    return {name: dict(zip(ENGINES, cells, strict=True)) for name, *cells in parted if not name.startswith("agree, of")}


def _shown(cell: Cell) -> str:
    return cell.said if cell.verdict == "agrees" else cell.verdict


def main() -> None:
    """Measure the models, print each row when it is there, and write the page if all were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="models whose names have one of these")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="take rows from this JSON file, and add new ones")
    chosen = parser.parse_args()
    rows = _kept(chosen.kept)
    warm.use()
    for name, case in MODELS.items():
        if name not in rows and (not chosen.only or any(text in name for text in chosen.only)):
            rows[name] = row(case)
            for title, cell in rows[name].items():
                print(f"{name}: {title}: {cell.verdict}: {cell.said}", flush=True)
            if chosen.kept:
                chosen.kept.write_text(json.dumps(rows, indent=1))
    if rows.keys() == MODELS.keys():
        before = PAGE.read_text()
        table = before[before.index(HEAD) :].partition("\n\n")[0]
        PAGE.write_text(before.replace(table, "\n".join(lines({name: rows[name] for name in MODELS}))))


def _kept(file: Path | None) -> dict[str, dict[str, Cell]]:
    found = json.loads(file.read_text()) if file and file.exists() else {}
    return {name: {title: Cell(*cell) for title, cell in cells.items()} for name, cells in found.items()}


if __name__ == "__main__":
    main()
