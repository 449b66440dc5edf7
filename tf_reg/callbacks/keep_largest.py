"""Which members of several parts stay: the largest ones, as many as is said, one by one or in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Sizes = Sequence[np.ndarray]  # the mean squares of the members of every part of a model: float64, one array a part


def largest(sizes: Sizes, keep: int, guarded: Sequence[bool]) -> list[np.ndarray]:
    """Choose the members with the largest mean squares of all parts together. Of equal ones the first.

    The largest member of a guarded part stays in any case, if the part has one that isn't zero, and as long as there
    are not more such parts than `keep`.

    Args:
        sizes: The mean squares of all members, an array of shape `(members,)` for each part.
        keep: How many to choose, at most as many as aren't zero.
        guarded: For each part whether it must not become zero as a whole.

    Returns:
        Which members stay: boolean, an array of shape `(members,)` for each part.

    Example:

    >>> [stays.tolist() for stays in largest([np.array([4.0, 9.0]), np.array([1.0, 0.0])], 2, [True, True])]
    [[False, True], [True, False]]
    """
    flat, ends = np.concatenate(sizes), np.cumsum([len(one) for one in sizes])
    chosen = np.zeros(len(flat), bool)
    starts = [end - len(one) for end, one in zip(ends, sizes, strict=True)]
    living = [
        start + int(one.argmax())
        for start, one, guard in zip(starts, sizes, guarded, strict=True)
        if guard and one.any()
    ]
    if len(living) <= keep:
        chosen[living] = True
    order = np.argsort(np.where(chosen, -np.inf, -flat), kind="stable")
    chosen[order[:keep]] = True
    return np.split(chosen, ends[:-1])


def blocks(sizes: Sizes, keep: int, round_to: int, guarded: Sequence[bool]) -> list[np.ndarray]:
    """Choose whole blocks: of each part a multiple of a number of members, or all of them.

    Of all such choices it is one with the most members, `keep` at most, and of these the one with the largest sum of
    mean squares. Where every block has `round_to` members, these are the blocks with the largest mean squares, each
    part's members sorted. It is found by dynamic programming over the parts, in `members / round_to * keep` steps.

    Args:
        sizes: The mean squares of all members, an array of shape `(members,)` for each part.
        keep: How many to choose at most.
        round_to: The number, 1 or above.
        guarded: For each part whether it must not become zero as a whole. It may if nothing else is within `keep`.

    Returns:
        Which members stay, as `largest` returns it.

    Example:

    >>> parts = [np.array([4.0, 9.0, 1.0, 1.0]), np.array([3.0, 3.0])]
    >>> [stays.tolist() for stays in blocks(parts, 5, 2, [True, True])]
    [[True, True, False, False], [True, True]]
    """
    best, steps = np.full(keep + 1, -np.inf), []
    best[0] = 0.0
    for size, guard in zip(sizes, guarded, strict=True):
        best, step = _with_part(best, size, _counts(size, round_to, guard))
        steps.append(step)
    if not np.isfinite(best).any():
        return blocks(sizes, keep, round_to, [False] * len(sizes))
    total, chosen = int(np.flatnonzero(np.isfinite(best))[-1]), []
    for size, step in zip(reversed(sizes), reversed(steps), strict=True):
        stays = np.zeros(len(size), bool)
        stays[np.argsort(-size, kind="stable")[: step[total]]] = True
        chosen.append(stays)
        total -= int(step[total])
    return chosen[::-1]


def _counts(size: np.ndarray, round_to: int, guard: bool) -> list[int]:
    """How many members of a part may stay: those that do aren't zero."""
    alive = int(np.count_nonzero(size))
    counts = [*range(0, alive + 1, round_to), *([alive] if alive == len(size) else [])]
    counts = list(dict.fromkeys(counts))
    return counts[1:] if guard and len(counts) > 1 else counts


def _with_part(best: np.ndarray, size: np.ndarray, counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The largest sum for each total with one more part, and how many of its members that takes."""
    sums = np.concatenate([[0.0], np.cumsum(np.sort(size)[::-1])])
    new, taken = np.full(len(best), -np.inf), np.zeros(len(best), int)
    for count in counts:
        if count >= len(best):
            break
        shifted = best[: len(best) - count] + sums[count]
        better = shifted > new[count:]
        new[count:][better] = shifted[better]
        taken[count:][better] = count
    return new, taken


def reachable(sizes: Sizes, round_to: int) -> int:
    """Return how many members could stay at most: those that aren't zero, in whole blocks.

    Args:
        sizes: As in `blocks`.
        round_to: As in `blocks`.
    """
    return sum(_counts(size, round_to, guard=False)[-1] for size in sizes)
