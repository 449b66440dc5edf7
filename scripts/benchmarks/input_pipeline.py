"""Whether the input pipeline bounds training: steps fed by it, steps on one constant batch, and the whole `fit`."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Iterator, Sequence

from benchmarks import fitting, report, stepping, timing
from benchmarks.subjects import Subject, subjects

SECONDS = 1.0  # that what is timed at once should take
FEW = 8  # that tell how long a step takes
PER_EXECUTION = 50

CONSTANT, CONTROL, PIPELINE = "constant", "constant, again", "pipeline"
BARE, RECIPE, MANY = "bare fit", "recipe", "recipe, many steps an execution"


def run(flags: Namespace, batch_sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the report."""
    yield (
        "Milliseconds a step. The first three columns of numbers time the compiled train function alone, on one "
        "constant batch and fed by the input pipeline; the last three a whole epoch of `fit` (without validation): "
        "without callbacks, as `train.py` runs it (RegularizationLogger, CSVLogger, TensorBoard, progress bar), and "
        f"that with `--steps-per-execution {PER_EXECUTION}`. All in turn; medians of {flags.repeats} [quartiles]."
    )
    yield ""
    yield from report.header(
        "network, batch",
        "constant batch (ms)",
        "pipeline / constant",
        "constant / constant",
        "`fit` without callbacks (ms)",
        "`train.py` (ms)",
        f"`train.py`, {PER_EXECUTION} steps an execution (ms)",
    )
    for batch_size in batch_sizes:
        for subject in subjects(flags, batch_size):
            yield _row(subject, flags.repeats)


def _row(subject: Subject, repeats: int) -> str:
    many = subject.again(steps_per_execution=PER_EXECUTION)
    subject.model.fit(subject.feed(1), shuffle=False, verbose=0)  # builds the optimizer and the train function
    constant = stepping.constant(next(iter(subject.feed())))
    pipeline = iter(subject.feed().repeat())
    once = stepping.seconds(subject.model, constant, FEW) / FEW
    length = min(max(PER_EXECUTION, round(SECONDS / once)), subject.batches)
    times = timing.interleave(
        {
            CONSTANT: functools.partial(stepping.seconds, subject.model, constant, length),
            PIPELINE: functools.partial(stepping.seconds, subject.model, pipeline, length),
            CONTROL: functools.partial(stepping.seconds, subject.model, constant, length),
            BARE: functools.partial(fitting.bare_epoch, subject, length),
            RECIPE: functools.partial(fitting.recipe_epoch, subject, length),
            MANY: functools.partial(fitting.recipe_epoch, many, length),
        },
        repeats,
    )
    milliseconds = {name: timing.Spread.of(seconds).show("{:.2f}", 1000 / length) for name, seconds in times.items()}
    return report.row(
        f"{subject.name}, {subject.config.batch_size}",
        milliseconds[CONSTANT],
        timing.ratio(times, PIPELINE, CONSTANT).show("{:.3f}"),
        timing.ratio(times, CONTROL, CONSTANT).show("{:.3f}"),
        *(milliseconds[name] for name in (BARE, RECIPE, MANY)),
    )
