"""The pages that people read: README.md, CONTRIBUTING.md and docs/, and what stands in their code blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.tools import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(
    r"(?:<!-- (?P<marks>[^>]*) -->\n)?"
    r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$"
    r"(?:\n\n```text\n(?P<shown>.*?)^```$)?",
    flags=re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A code block of a page.

    Attributes:
        page: Where it stands.
        line: The line of its first code.
        language: `python`, `sh` or `text`.
        text: The code.
        shown: What the page says that the code prints; None if it says nothing.
        marks: The words of a comment above the block: `slow`, or `needs` and a module.
    """

    page: Path
    line: int
    language: str
    text: str
    shown: str | None
    marks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """All blocks of a language in a page."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        marks = tuple((match["marks"] or "").replace(",", " ").split())
        found.append(Block(page, line, match["language"], match["text"], match["shown"], marks))
    return [block for block in found if block.language == language]


def commands(page: Path) -> list[list[str]]:
    """The words of every shell command of a page, in their order."""
    joined = "\n".join(block.text for block in blocks(page, "sh")).replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]


def outside_code(page: Path) -> str:
    """The text of a page without its code blocks."""
    return FENCE.sub("", page.read_text())
