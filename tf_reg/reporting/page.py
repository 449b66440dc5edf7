"""A page of HTML that needs nothing else: its style and its pictures are in the file."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from tf_reg._version import __version__
from tf_reg.reporting.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("tf_reg.reporting", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG.

    Args:
        png: Its bytes.
        text: What it shows, for those who can't see it.
    """

    png: bytes
    text: str

    @classmethod
    def of(cls, figure: Figure, text: str) -> Picture:
        """Return a figure of matplotlib as a picture."""
        stream = io.BytesIO()
        save(figure, stream)
        return cls(stream.getvalue(), text)

    @property
    def source(self) -> str:
        """The picture as the address of an image."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page. What is empty is left out.

    Args:
        title: The heading.
        text: Paragraphs.
        rows: A table: cells of text, the head first.
        words: How many columns of the table, from the left, hold words; the others hold numbers, set flush right.
        lines: Text with its line breaks and spaces, as a terminal shows it.
        pictures: What follows.
        closed: Whether only the heading is to be seen until it is clicked.
    """

    title: str
    text: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    words: int = 1
    lines: str = ""
    pictures: Sequence[Picture] = ()
    closed: bool = False

    @property
    def filled(self) -> bool:
        """Whether there is anything below the title."""
        return bool(self.text or self.rows or self.lines or self.pictures)


def page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """Return a page as HTML.

    Args:
        title: The title.
        sections: The parts.
        lead: One sentence below the title.
    """
    template = _PAGE.get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections, version=__version__)


def write(file: Path, title: str, sections: Sequence[Section], lead: str = "") -> None:
    """Write a page to a file. The arguments are those of `page`."""
    file.write_text(page(title, sections, lead), encoding="utf-8")
