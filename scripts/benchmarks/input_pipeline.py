"""Whether the input pipeline bounds training: steps fed by it, steps on one constant batch, and the whole `fit`."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator, Sequence

from benchmarks import fitting, report, stepping, timing
from benchmarks.subjects import Subject, subjects

SECONDS = 1.0  # that what is timed at once should take
FEW = 8  # that tell how long a step takes
SHORTEST = 50  # steps of what is timed at once

CONSTANT, CONTROL, PIPELINE = "constant", "constant, again", "pipeline"
BARE, RECIPE, ONE = "bare fit", "recipe", "recipe, one step an execution"


def run(flags: Namespace, batch_sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the report."""
    yield (
        "Milliseconds a step. The first three columns of numbers time the compiled train function alone, on one "
        "constant batch and fed by the input pipeline; the last three a whole epoch of `fit` (without validation): "
        "without callbacks, and as `train.py` runs it (RegularizationLogger, CSVLogger, TensorBoard, progress bar), "
        "with one step an execution, and with the steps that it chooses. All in turn; medians of "
        f"{flags.repeats} [quartiles]."
    )
    yield ""
    yield from report.header(
        "network, batch",
        "constant batch (ms)",
        "pipeline / constant",
        "constant / constant",
        "`fit` without callbacks (ms)",
        "`train.py`, 1 step an execution (ms)",
        "`train.py` (ms)",
        "steps an execution",
    )
    for batch_size in batch_sizes:
        for subject in subjects(flags, batch_size):
            yield _row(subject, flags.repeats)


def _row(subject: Subject, repeats: int) -> str:
    one = subject.again(steps_per_execution=1)
    one.model.fit(one.feed(1), shuffle=False, verbose=0)  # builds the optimizer and the train function
    constant = stepping.constant(next(iter(subject.feed())))
    pipeline = iter(subject.feed().repeat())
    once = stepping.seconds(one.model, constant, FEW) / FEW
    length = min(max(SHORTEST, round(SECONDS / once)), subject.batches)
    times = timing.interleave(
        {
            CONSTANT: functools.partial(stepping.seconds, one.model, constant, length),
            PIPELINE: functools.partial(stepping.seconds, one.model, pipeline, length),
            CONTROL: functools.partial(stepping.seconds, one.model, constant, length),
            BARE: functools.partial(fitting.bare_epoch, one, length),
            ONE: functools.partial(fitting.recipe_epoch, one, length),
            RECIPE: functools.partial(fitting.recipe_epoch, subject, length),
        },
        repeats,
    )
    milliseconds = {name: timing.Spread.of(seconds).show("{:.2f}", 1000 / length) for name, seconds in times.items()}
    return report.row(
        f"{subject.name}, {subject.config.batch_size}",
        milliseconds[CONSTANT],
        timing.ratio(times, PIPELINE, CONSTANT).show("{:.3f}"),
        timing.ratio(times, CONTROL, CONSTANT).show("{:.3f}"),
        *(milliseconds[name] for name in (BARE, ONE, RECIPE)),
        str(subject.model.steps_per_execution),
    )
