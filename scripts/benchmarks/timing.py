"""Times that can be compared: taken in turn, undisturbed by the garbage collector, and given with their spread."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Times = dict[str, list[float]]  # seconds of each arm, one a round


@dataclasses.dataclass(frozen=True)
class Spread:
    """The quartiles of some measurements."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the quartiles of one value or more."""
        return cls(*(float(quartile) for quartile in np.percentile(values, (25, 50, 75))))

    def show(self, form: str, scale: float = 1.0) -> str:
        """Return `median [lower, upper]`, each as `form` says (such as `"{:.2f}"`) after multiplication by `scale`."""
        lower, median, upper = (form.format(scale * value) for value in dataclasses.astuple(self))
        return f"{median} [{lower}, {upper}]"


def ratio(times: Times, arm: str, base: str) -> Spread:
    """Return how many times as long as `base` the arm took: the quartiles of the rounds' ratios.

    Two arms of a round ran one after the other, so what slows the machine for longer slows both.
    """
    return Spread.of([a / b for a, b in zip(times[arm], times[base], strict=True)])


def interleave(arms: Mapping[str, Callable[[], float]], repeats: int) -> Times:
    """Run every arm once to warm it up, then all of them in each of `repeats` rounds, and return what they return.

    Args:
        arms: By name, what to measure; each returns the seconds that count.
        repeats: How many rounds.
    """
    for arm in arms.values():
        arm()
    times: Times = {name: [] for name in arms}
    for name in order(list(arms), repeats):
        with undisturbed():
            times[name].append(arms[name]())
    return times


def order(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield each name once a round; the first one changes from round to round, and so does the direction."""
    for number in range(rounds):
        start = number % len(names)
        turn = [*names[start:], *names[:start]]
        yield from turn if number % 2 == 0 else reversed(turn)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Collect garbage beforehand rather than within."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
