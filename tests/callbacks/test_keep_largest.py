"""The largest members stay, one by one or in blocks: against all choices there are."""

import itertools

import numpy as np
import pytest

from tf_reg.callbacks.keep_largest import blocks, largest, reachable


def parts(seed, widths):
    random = np.random.default_rng(seed)
    return [np.square(random.normal(size=width)) * random.choice([1, 1, 1, 0], width) for width in widths]


def kept(sizes, stays):
    return sum(size[one].sum() for size, one in zip(sizes, stays, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_of_all_are_kept(seed):
    sizes = parts(seed, [7, 1, 5])
    flat = np.concatenate(sizes)
    for keep in range(1, np.count_nonzero(flat) + 1):
        stays = largest(sizes, keep, [False] * 3)
        assert np.concatenate(stays).sum() == keep
        assert kept(sizes, stays) == pytest.approx(np.sort(flat)[-keep:].sum())


def test_a_guarded_part_keeps_its_largest_and_zeros_are_never_kept():
    sizes = [np.array([9.0, 8.0, 7.0]), np.array([1.0, 2.0]), np.array([0.0, 0.0])]
    for keep, expected in ((2, [1, 1, 0]), (3, [2, 1, 0]), (4, [3, 1, 0]), (1, [1, 0, 0])):
        stays = largest(sizes, keep, [True, True, True])
        assert [one.sum() for one in stays] == expected
    assert largest(sizes, 2, [True, True, True])[1].tolist() == [False, True]
    assert [one.sum() for one in largest(sizes, 3, [True, False, True])] == [3, 0, 0]


def test_of_equal_ones_the_first_stay():
    stays = largest([np.ones(3), np.ones(3)], 4, [False, False])
    assert np.concatenate(stays).tolist() == [True] * 4 + [False] * 2
    assert blocks([np.ones(4)], 2, 2, [False])[0].tolist() == [True, True, False, False]


def all_choices(sizes, keep, round_to):
    """The most members, and the largest sum, of all numbers that may stay."""
    options = []
    for size in sizes:
        alive, width = np.count_nonzero(size), len(size)
        options.append([n for n in range(width + 1) if n <= alive and (n % round_to == 0 or n == width)])
    found = [
        (sum(numbers), sum(np.sort(size)[::-1][:n].sum() for size, n in zip(sizes, numbers, strict=True)))
        for numbers in itertools.product(*options)
        if sum(numbers) <= keep
    ]
    return max(found)


@pytest.mark.parametrize("seed", range(12))
def test_blocks_are_the_best_of_all_choices(seed):
    random = np.random.default_rng(seed)
    sizes = parts(seed, random.integers(1, 12, 3))
    for round_to, keep in itertools.product((2, 3, 4), range(1, sum(map(len, sizes)) + 1)):
        stays = blocks(sizes, keep, round_to, [False] * 3)
        total, best = all_choices(sizes, keep, round_to)
        assert sum(one.sum() for one in stays) == total
        assert kept(sizes, stays) == pytest.approx(best)


def test_blocks_leave_something_in_each_guarded_part_where_that_is_possible():
    sizes = [np.full(8, 9.0), np.full(8, 1.0), np.zeros(8)]
    assert [one.sum() for one in blocks(sizes, 8, 4, [True] * 3)] == [4, 4, 0]
    assert [one.sum() for one in blocks(sizes, 4, 4, [True] * 3)] == [4, 0, 0]
    assert [one.sum() for one in blocks(sizes, 12, 4, [True] * 3)] == [8, 4, 0]


def test_what_could_stay():
    assert reachable([np.array([1.0, 0.0, 1.0, 1.0]), np.ones(3), np.zeros(2)], 2) == 2 + 3
    assert reachable([np.array([1.0, 0.0, 1.0, 1.0])], 1) == 3
