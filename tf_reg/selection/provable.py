"""Whether there are enough validation examples to prove what is asked for, before anything is trained."""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy import stats

from tf_reg.selection.noninferiority import are_binary, examples_needed, provable_drop

DISAGREEMENT = 0.5  # the share of a candidate's changed answers, beside the original's share of wrong ones
SPREAD = 0.5  # of the differences of other scores, beside that of the scores themselves


def check_provable(scores: np.ndarray, max_drop: float, level: float) -> None:
    """Refuse a drop that these examples can't prove, and warn of one that they can prove only if little changes.

    Args:
        scores: The scores of the original, `(examples,)`.
        max_drop: The drop that is too much.
        level: The probability of an error that is allowed for each candidate.

    Raises:
        ValueError: Not even a candidate with the same answers would pass.

    Warns:
        UserWarning: A candidate whose score doesn't fall, with as many changed answers as is usual, would fail.
    """
    n = len(scores)
    if not are_binary(scores):
        _check_spread(scores, max_drop, level)
        return
    if max_drop >= 1:
        raise ValueError(f"max_drop of right and wrong answers is below 1. Received: max_drop={max_drop}")
    needed = examples_needed(max_drop, level)
    if n < needed:
        raise ValueError(
            f"A drop of at most {max_drop:g} can't be proven by {n:,} validation examples at the level {level:.2g} of "
            f"each candidate, even if no answer changes. That takes {needed:,} examples; {n:,} can prove a drop of "
            f"{_up(provable_drop(n, level))}. Give more validation examples, a larger max_drop, or fewer candidates. "
            f"Received: max_drop={max_drop:g}, {n} validation examples"
        )
    usual = DISAGREEMENT * (1 - float(scores.mean()))
    needed = examples_needed(max_drop, level, usual)
    if n < needed:
        _warn(n, max_drop, f"fewer than {usual:.1%} of the answers change", needed, provable_drop(n, level, usual))


def _check_spread(scores: np.ndarray, max_drop: float, level: float) -> None:
    n = len(scores)
    if n < 2:
        raise ValueError(f"validation has 2 examples or more. Received: {n}")
    usual = SPREAD * float(scores.std(ddof=1))
    provable = float(stats.t.ppf(1 - level, n - 1)) * usual / math.sqrt(n)
    if provable >= max_drop:
        needed = math.ceil((float(stats.norm.ppf(1 - level)) * usual / max_drop) ** 2) + 2
        changes = f"the scores of single examples change by less than {usual:.2g} (standard deviation)"
        _warn(n, max_drop, changes, needed, provable)


def _warn(n: int, max_drop: float, changes: str, needed: int, provable: float) -> None:
    warnings.warn(
        f"A drop of at most {max_drop:g} can be proven by {n:,} validation examples only if {changes}. With so many "
        f"changes it takes {needed:,} examples; {n:,} can prove a drop of {_up(provable)}. Give more validation "
        "examples, a larger max_drop, or fewer candidates.",
        stacklevel=5,
    )


def _up(drop: float) -> str:
    """A drop with two digits, rounded up."""
    digits = 1 - math.floor(math.log10(drop))
    return f"{math.ceil(drop * 10**digits) / 10**digits:.{digits}f}"
