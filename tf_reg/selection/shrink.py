"""From a trained model, the smallest one whose validation score provably falls by less than a margin."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tf_reg._checks import number, require
from tf_reg.selection import shrink_arguments as checked
from tf_reg.selection.examples import examples_of
from tf_reg.selection.frontier import Shrunk, line, size_of
from tf_reg.selection.kept import Kept
from tf_reg.selection.provable import check_provable
from tf_reg.selection.scores import Score
from tf_reg.selection.search import Search, Task
from tf_reg.selection.shrink_penalties import rules_of
from tf_reg.selection.shrink_settings import settings_of


def shrink(
    model: keras.Model,
    train: Any,
    validation: Any,
    max_drop: float = 0.005,
    penalty: Any = "channels",
    *,
    score: Score | None = None,
    optimizer: Any = "adam",
    distill: bool | None = None,
    refit_epochs: int = 30,
    batch_size: int = 128,
    candidates: int = 6,
    level: float = 0.05,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> Shrunk:
    """Return the smallest model found whose score provably falls by less than `max_drop`. The model stays as it is.

    A candidate is made in three steps. A copy of the model trains under the penalty, whose strength rises until three
    quarters of the multiply-adds can go. `tf_reg.compact` cuts them out. Then the smaller model is refitted without a
    penalty. If it passes a test on the validation examples, the next candidate is made from it; if it doesn't, a
    gentler one is made from the same model as before. The search ends after `candidates`, or when the gentlest one has
    failed.

    The test is one-sided and paired. It refuses the hypothesis that the true drop is `max_drop` or more: Tango's score
    test where an answer is right or wrong, the t-test for other scores. Each candidate is tested at `level` divided by
    `candidates` (Bonferroni), so `level` holds for the model that is returned, however it was chosen. It holds for new
    examples of the kind of `validation`, which must not be among the training examples.

    In the refit of a classifier the original is the teacher: the loss is a tenth cross-entropy with the label, and nine
    tenths with the answer of the original.

    Hinton et al. 2015, "Distilling the knowledge in a neural network"; Tango 1998, "Equivalence test and confidence
    interval for the difference in proportions for the paired-sample design".

    Args:
        model: A trained, compiled, functional or sequential model.
        train: Training examples: `(x, y)`, `(x, y, sample_weight)` or a data set of batches, which is read into memory.
        validation: Validation examples without weights, in the same forms.
        max_drop: By how much the mean score may fall: of a classifier's accuracy 0.005 is half a point.
        penalty: What removes: `"channels"` (`tf_reg.ChannelLasso`), `"units"` or `"inputs"` (`tf_reg.GroupLasso`),
            `"weights"` (L1), or what `tf_reg.regularize` takes. Its strength is found, and counts as a factor alone.
        score: A function of `(y_true, y_pred)` that returns a number for each example, larger where the answer is
            better. By default 1 for a right answer and 0 for a wrong one; that needs a cross-entropy as the loss.
        optimizer: A Keras optimizer that `tf_reg.Proximal` takes, or its name, for the penalty and for the refit. Its
            rate is a number; in the refit it falls to zero. The model's own one isn't used: its rate may have fallen.
        distill: Whether candidates learn the answers of the original, and not the targets alone. None is True for
            classifiers with one output, which are all that can.
        refit_epochs: How many epochs each candidate is refitted, divided by the square root of its share of the
            multiply-adds: a smaller model is faster and learns more slowly.
        batch_size: Examples a batch.
        candidates: How many candidates at most. More of them need more examples.
        level: The probability of returning a model whose true drop is `max_drop` or more, at most.
        folder: Where each candidate is kept as a `.keras` file, with a `frontier.json`. A call that was interrupted
            goes on from there. None keeps none.
        seed: Of the order of the training examples and of their mixtures.
        verbose: 1 prints a line for each candidate, 0 nothing.

    Returns:
        The model with the frontier; print it for a table. Where no candidate passes, its `model` is the original and
        its `found` is False. The model has no regularizers, and is compiled as the original is.

    Raises:
        ValueError: Too few validation examples to prove `max_drop`, even if no answer changed: the error says how many
            it takes, and which drop can be proven. A model, examples, a penalty or another argument that doesn't fit;
            a folder of a call with other settings.

    Warns:
        UserWarning: `max_drop` can be proven only if few answers change; no candidate passed.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    >>> y = (x[:, 0] > 0).astype("int32")
    >>> hidden, last = keras.layers.Dense(64, "relu"), keras.layers.Dense(2, "softmax")
    >>> model = keras.Sequential([keras.Input((4,)), hidden, last])
    >>> model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    >>> history = model.fit(x, y, epochs=5, verbose=0)
    >>> found = tf_reg.shrink(model, (x[:128], y[:128]), (x[128:], y[128:]), 0.2, candidates=1, verbose=0)
    >>> found.found, found.model.layers[0].units <= 32
    (True, True)
    """
    checked.check_numbers(max_drop, level, candidates, refit_epochs, batch_size, seed, verbose)
    checked.check_others(model, score, distill, folder)
    optimizer, rules = checked.optimizer_of(optimizer), rules_of(model, penalty)
    examples, decisive = examples_of(train, "train"), examples_of(validation, "validation")
    require(decisive.weights is None, "validation has no weights: (x, y)", "validation", "(x, y, sample_weight)")
    task = Task(
        model=model,
        train=examples,
        validation=decisive,
        score=checked.score_of(model, score),
        max_drop=number(max_drop),
        level=number(level) / int(candidates),
        rules=rules,
        optimizer=optimizer,
        student=checked.student_of(model, distill),
        candidates=int(candidates),
        refit_epochs=int(refit_epochs),
        batch_size=int(batch_size),
        seed=int(seed),
    )
    kept = Kept(None if folder is None else Path(folder), settings_of(task, penalty, score))
    return _shrunk(task, kept, number(level), print if verbose else _nothing)


def _shrunk(task: Task, kept: Kept, level: float, say: Callable[[str], object]) -> Shrunk:
    """Check that there are enough examples, search, and say what was found."""
    scores, original = task.scores(task.model), size_of(task.model)
    check_provable(scores, task.max_drop, task.level)
    say(f"original: {original.cost:,} {original.unit}, score {scores.mean():.4f} of {len(scores):,} examples")
    search = Search(task, scores, kept, lambda candidate: say(line(candidate, original)))
    try:
        model = search.run()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {kept.place}") from None
    found = Shrunk(
        model=task.model if model is None else model,
        found=model is not None,
        frontier=tuple(kept.candidates),
        chosen=search.chosen,
        original=original,
        score=float(scores.mean()),
        max_drop=task.max_drop,
        level=level,
    )
    if not found.found:
        warnings.warn(found.verdict, stacklevel=3)
    return found


def _nothing(text: str) -> None:
    """Say nothing."""
