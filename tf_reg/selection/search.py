"""The search of `tf_reg.shrink`: candidates, each made from the smallest one so far that passed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_reg.compaction.copies import copied
from tf_reg.rules.regularize_model import remove_regularizers
from tf_reg.selection.examples import Examples
from tf_reg.selection.frontier import Candidate, size_of
from tf_reg.selection.kept import Kept
from tf_reg.selection.noninferiority import Comparison, compare_scores
from tf_reg.selection.press import STEPS, press
from tf_reg.selection.refitting import refitted
from tf_reg.selection.scores import Classes, Score, scores_of
from tf_reg.selection.teacher import taught

SHARE = 0.25  # of the multiply-adds that the next candidate shall have at most
GENTLEST = 0.9  # share beyond which the search ends
SMALLER = 0.99  # share that a candidate must have at most
PREDICT = 1000  # examples a call in inference


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be done.

    Args:
        model: The original.
        train: The training examples.
        validation: The examples that decide.
        score: The score of an example.
        max_drop: The drop of the mean score that is too much.
        level: The probability of an error that is allowed for each candidate.
        rules: The penalty, as `tf_reg.regularize` takes it; its strength counts as one.
        optimizer: The optimizer.
        student: How a candidate says its classes, where it learns the answers of the original; None where it doesn't.
        candidates: How many candidates at most.
        refit_epochs: How many epochs a candidate as large as the original would be refitted.
        batch_size: Examples a batch.
        seed: Of the order of the examples.
    """

    model: keras.Model
    train: Examples
    validation: Examples
    score: Score
    max_drop: float
    level: float
    rules: Any
    optimizer: keras.optimizers.Optimizer
    student: Classes | None
    candidates: int
    refit_epochs: int
    batch_size: int
    seed: int

    def scores(self, model: keras.Model) -> np.ndarray:
        """Return the score of each validation example, `(examples,)`."""
        outputs = model.predict(self.validation.fed, batch_size=PREDICT, verbose=0)
        return scores_of(self.score, self.validation.targets, outputs)


class Search:
    """Makes candidates and keeps the smallest one that passed.

    A candidate has a quarter of the multiply-adds of the one that it is made from, or fewer. Where one fails, the next
    one is made from the same model again with the square root of that share.

    Args:
        task: What is to be done.
        scores: The scores of the original.
        kept: Where candidates are kept.
        say: What takes a line for each candidate.
    """

    def __init__(self, task: Task, scores: np.ndarray, kept: Kept, say: Callable[[Candidate], object]) -> None:
        self._task, self._scores, self._kept, self._say = task, scores, kept, say
        self._plain = copied(task.model)
        remove_regularizers(self._plain, unsaved="ignore")
        self._refit_on = task.train
        if task.student is not None:
            self._refit_on = taught(self._plain, task.student, task.train, PREDICT)
        self._best, self._share = self._plain, SHARE
        self.chosen: Candidate | None = None

    def run(self) -> keras.Model | None:
        """Return the smallest model that passed, compiled as the original is; None where none passed."""
        for candidate in self._kept.candidates:
            self._take(candidate, None)
        while len(self._kept.candidates) < self._task.candidates and self._share < GENTLEST:
            if not self._next():
                break
        return None if self.chosen is None else self._best

    def _next(self) -> bool:
        """Make a candidate; returns whether there is one."""
        start, task, number = time.perf_counter(), self._task, len(self._kept.candidates) + 1
        before = size_of(self._best)

        def epoch(which: int) -> Examples:
            random, size = np.random.default_rng([task.seed, number, which]), len(task.train)
            rounds = math.ceil(STEPS * task.batch_size / size)
            return task.train.take(np.concatenate([random.permutation(size) for _ in range(rounds)]))

        goal = self._share * before.cost
        small, strength = press(self._best, task.rules, task.optimizer, goal, epoch, task.batch_size)
        if size_of(small).cost > SMALLER * before.cost:
            return False
        how: Any = (task.student, task.optimizer, self._epochs(small), task.batch_size, (task.seed, number))
        model = refitted(small, task.model, self._refit_on, *how)
        scores = task.scores(model)
        found = compare_scores(self._scores, scores, task.max_drop, task.level)
        candidate = self._described(model, strength, float(scores.mean()), found, time.perf_counter() - start)
        self._take(self._kept.add(candidate, model), model)
        return True

    def _epochs(self, small: keras.Model) -> int:
        """The epochs of a refit: more for a smaller model, which is faster and learns more slowly."""
        share = size_of(small).cost / size_of(self._plain).cost
        return math.ceil(self._task.refit_epochs / math.sqrt(share))

    def _described(
        self, model: keras.Model, strength: float, score: float, found: Comparison, seconds: float
    ) -> Candidate:
        return Candidate(
            number=len(self._kept.candidates) + 1,
            made_from=0 if self.chosen is None else self.chosen.number,
            strength=strength,
            **dataclasses.asdict(size_of(model)),
            score=score,
            **dataclasses.asdict(found),
            proven=found.p_value <= self._task.level,
            seconds=seconds,
        )

    def _take(self, candidate: Candidate, model: keras.Model | None) -> None:
        """Go on from a candidate if it passed, and more gently if it didn't.

        Args:
            candidate: What is known of it.
            model: It; None for one of an earlier call.
        """
        self._say(candidate)
        if candidate.proven:
            self.chosen = candidate
            self._best = self._kept.model(candidate, self._task.model) if model is None else model
        else:
            self._share = math.sqrt(self._share)
