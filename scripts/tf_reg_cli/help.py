"""The layout of `--help`: names on the left, what they mean on the right, in plain text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH, LEFT = 80, 27


class TwoColumns:
    """A help formatter of cyclopts, without colours and boxes.

    It prints to the file, since the console of rich would end the process where nobody reads.
    """

    def __call__(self, console: Any, options: Any, panel: Any) -> None:
        """Print a group of flags or commands."""
        if panel.entries:
            print(f"{panel.title}:", file=console.file)
            for entry in panel.entries:
                for line in _lines(_names(entry), _meaning(entry)):
                    print(line, file=console.file)
            print(file=console.file)

    def render_usage(self, console: Any, options: Any, usage: Any) -> None:
        """Print how the command is called."""
        print(f"Usage: {_plain(usage).removeprefix('Usage:').strip()}\n", file=console.file)

    def render_description(self, console: Any, options: Any, description: Any) -> None:
        """Print what the command does, and its examples as they are."""
        for block in _plain(description).split("\n\n"):
            print(
                f"{block if block[:1] == ' ' else textwrap.fill(block, WIDTH, break_on_hyphens=False)}\n",
                file=console.file,
            )


def _plain(text: Any) -> str:
    """Return the text that cyclopts has wrapped into an object of rich."""
    text = getattr(text, "primary_renderable", text)
    return str(getattr(text, "plain", text or "")).rstrip()


def _names(entry: Any) -> str:
    names = [entry.positional_label] if entry.positional_label else entry.all_options
    metavar = "" if entry.positional_label else entry.metavar or ""
    return f"{', '.join(names)} {metavar}".strip()


def _meaning(entry: Any) -> str:
    text = _plain(entry.description).strip()
    return f"{text} [{', '.join(entry.choices)}]" if entry.choices else text


def _lines(names: str, meaning: str) -> Iterator[str]:
    lines = textwrap.wrap(meaning, WIDTH - LEFT - 1, break_on_hyphens=False) or [""]
    if len(names) + 4 > LEFT:
        yield f"  {names}"
        names = ""
    yield f"  {names:<{LEFT - 2}}{lines[0]}".rstrip()
    yield from (" " * LEFT + line for line in lines[1:])
