"""How the strength must change so that a share of zeros follows its plan."""

from __future__ import annotations

import math
from typing import Any


class StrengthSearch:
    """Changes the logarithm of the strength so that a share follows its plan. Times are parts of the whole search.

    Args:
        target: Where the plan ends.
        batches: How long the search takes.
        strength: The strength that it starts with.
    """

    PLAN = 0.9  # when the plan reaches the target
    AHEAD = 0.05  # how far to look ahead
    MEMORY = 0.025  # how far back the moving averages look from which trends are taken
    GAIN, SPEED = 400.0, 60.0  # change of the logarithm per unit of time: for a share of 1, and at most
    JUMP = 1.0  # largest change of the logarithm at once
    RANGE = math.log(1e9)  # largest rise of the logarithm in all

    def __init__(self, target: float, batches: float, strength: float) -> None:
        self.target = target
        self.batches = batches
        self.due = 0.0  # the batch after which to measure
        self._batch = 0
        self._log = math.log(strength)
        self._highest = self._log + self.RANGE
        self._share = 0.0  # a moving average, as are the norms
        self._norms: dict[str, float] = {}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> StrengthSearch:
        """Return the search whose `vars` are given."""
        made = cls.__new__(cls)
        vars(made).update(state)
        return made

    def steer(self, batch: int, share: float, norms: dict[str, float]) -> float:
        """Return the strength for the batches until `due`.

        Args:
            batch: How many batches there were.
            share: The share now.
            norms: The Euclidean norms of the layers that have a weight that isn't zero.
        """
        passed, time = (batch - self._batch) / self.batches, batch / self.batches
        self._batch = batch
        new = 1 - math.exp(-passed / self.MEMORY)
        self._share += new * (share - self._share)
        trend = (share - self._share) / self.MEMORY
        planned = self.target * (1 - max(0.0, 1 - (time + self.AHEAD) / self.PLAN) ** 3)
        haste = self._haste(norms, new) * max(0.0, self.PLAN - time)
        speed = min(self.GAIN * (planned - share - self.AHEAD * trend), self.SPEED * min(1.0, 1 - haste))
        change = passed * max(-self.SPEED, speed)
        self._log = min(self._log + max(-self.JUMP, min(self.JUMP, change)), self._highest)
        pause = min(self.batches / 200, abs(self.target - share) / 4 / max(abs(trend) / self.batches, 1e-12))
        self.due = batch + max(1.0, pause)
        return math.exp(self._log)

    def _haste(self, norms: dict[str, float], new: float) -> float:
        """How often the layer that shrinks fastest would shrink to zero within the search, at its present speed."""
        haste = 0.0
        for path, norm in norms.items():
            average = self._norms.get(path, norm)
            average += new * (norm - average)
            self._norms[path] = average
            haste = max(haste, (average - norm) / self.MEMORY / norm if norm else 0.0)
        return haste
