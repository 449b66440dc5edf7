"""What `tf_reg.shrink` returns: the candidates, the one that was chosen, and a table of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras

from tf_reg._text_table import aligned
from tf_reg.compaction.plan import plan_compaction


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a model.

    Args:
        parameters: How many numbers its variables have.
        multiply_adds: The multiply-adds of its kernels for one example; None where the size of an axis isn't known.
    """

    parameters: int
    multiply_adds: int | None

    @property
    def cost(self) -> int:
        """What is to become small: the multiply-adds, or the parameters where these aren't known."""
        return self.multiply_adds or self.parameters

    @property
    def unit(self) -> str:
        """What `cost` counts."""
        return "multiply-adds" if self.multiply_adds else "parameters"


def size_of(model: keras.Model, compacted: bool = False) -> Size:
    """Return the size of a model.

    Args:
        model: A functional or sequential model.
        compacted: Whether to return what `tf_reg.compact` would leave of it.
    """
    plan = plan_compaction(model)
    found = plan.multiply_adds
    return Size(plan.parameters[int(compacted)], None if found is None else found[int(compacted)])


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A smaller model that was made and tested.

    Args:
        number: Its number, from 1.
        made_from: The number of the candidate that it was made from; 0 is the original.
        strength: The multiplier of the penalty at the end, with which what was removed became zero.
        parameters: How many numbers its variables have.
        multiply_adds: The multiply-adds of its kernels for one example; None where the size of an axis isn't known.
        score: The mean score of the validation examples: of a classifier the accuracy.
        drop: The score of the original minus that.
        upper: The upper bound of the true drop, at the corrected level.
        p_value: The probability of so small a drop, if the true drop were `max_drop`.
        proven: Whether the true drop is below `max_drop`, at the corrected level.
        seconds: What it took, validation included.
        path: Its `.keras` file; None without a folder.
    """

    number: int
    made_from: int
    strength: float
    parameters: int
    multiply_adds: int | None
    score: float
    drop: float
    upper: float
    p_value: float
    proven: bool
    seconds: float
    path: Path | None = None

    @property
    def size(self) -> Size:
        """The size of the model."""
        return Size(self.parameters, self.multiply_adds)


@dataclasses.dataclass(frozen=True, repr=False)
class Shrunk:
    """What `tf_reg.shrink` found; print it for a table.

    Attributes:
        model: The smallest model that passed, compiled as the original was. The original itself where none passed.
        found: Whether a smaller model passed.
        frontier: All candidates, in the order in which they were made.
        chosen: The candidate that `model` is; None where none passed.
        original: The size of the original.
        score: The mean score of the original on the validation examples.
        max_drop: The drop that is allowed.
        level: The probability that the true drop of the returned model is larger, at most.
    """

    model: keras.Model
    found: bool
    frontier: tuple[Candidate, ...]
    chosen: Candidate | None
    original: Size
    score: float
    max_drop: float
    level: float

    def __repr__(self) -> str:
        return "\n".join([*aligned(self.rows), self.verdict])

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table, the head first."""
        rows = [_HEAD, ["original", "", *_sizes(self.original, self.original), f"{self.score:.4f}", "", "", ""]]
        return rows + [_cells(one, self.original) for one in self.frontier]

    @property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        sure = f"a drop of at most {self.max_drop:g} (error probability {self.level:g})"
        if self.chosen is None:
            return f"No smaller model passed the test of {sure}: the model is the original."
        share = self.chosen.size.cost / self.original.cost
        size = f"Candidate {self.chosen.number} has {share:.1%} of the {self.original.unit}"
        return f"{size}, and passed the test of {sure}."


_HEAD = ["model", "from", "parameters", "multiply-adds", "share", "score", "drop", "at most", "passed"]


def line(one: Candidate, original: Size) -> str:
    """Return what is said of a candidate as soon as it is tested.

    Args:
        one: The candidate.
        original: The size of the original.
    """
    return (
        f"candidate {one.number}: {one.size.cost / original.cost:.1%} of the {original.unit}, score {one.score:.4f}, "
        f"drop {one.drop:.4f} and at most {one.upper:.4f}: {'passed' if one.proven else 'failed'}, {one.seconds:.0f} s"
    )


def _cells(one: Candidate, original: Size) -> list[str]:
    made_from = str(one.made_from) if one.made_from else "original"
    tested = [f"{one.score:.4f}", f"{one.drop:.4f}", f"{one.upper:.4f}", "yes" if one.proven else "no"]
    return [f"candidate {one.number}", made_from, *_sizes(one.size, original), *tested]


def _sizes(size: Size, original: Size) -> list[str]:
    spent = "-" if size.multiply_adds is None else f"{size.multiply_adds:,}"
    return [f"{size.parameters:,}", spent, f"{size.cost / original.cost:.1%}"]
