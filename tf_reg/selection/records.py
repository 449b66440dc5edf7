"""What is known of one fit at one strength."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from tf_reg.selection.examples import Examples
from tf_reg.selection.fits import Fits


@dataclasses.dataclass(frozen=True)
class PathRecord:
    """A fit at one strength.

    Args:
        strength: The multiplier of the penalties.
        train_loss: The mean loss over the training examples in inference, without the penalties that give zeros.
        validation_loss: The same over the validation examples; None without any.
        metrics: The compiled metrics over the validation examples, by their names; empty without any.
        penalty: The penalties at these weights, without `strength`.
        weights: How many weights have a penalty that gives zeros.
        zeros: How many of them are exactly zero.
        groups: How many groups such penalties have; 0 where they are of single weights.
        live_groups: How many of them aren't all zero.
        parameters: How many parameters `tf_reg.compact` leaves, as `tf_reg.sparsity` counts them.
        violation: How far the weights are from a minimum, as a share of the strength, see `optimal`; None at 0.
        epochs: The passes over the training examples.
        seconds: The time of the fit.
        relaxed: The fit of the weights that aren't zero, without penalty; None where none was asked for.
    """

    strength: float
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    penalty: float
    weights: int
    zeros: int
    groups: int
    live_groups: int
    parameters: int
    violation: float | None
    epochs: int
    seconds: float
    relaxed: PathRecord | None = None

    @property
    def optimal(self) -> bool:
        """Whether the Karush-Kuhn-Tucker conditions hold to 1 % of the strength."""
        return self.violation is not None and self.violation <= 0.01

    def value(self, metric: str) -> float | None:
        """Return a number over the validation examples; None without any.

        Args:
            metric: `"loss"`, or the name of a compiled metric.

        Raises:
            ValueError: An unknown metric.
        """
        if metric == "loss":
            return self.validation_loss
        if self.metrics and metric not in self.metrics:
            known = ", ".join(map(repr, ["loss", *self.metrics]))
            raise ValueError(f"metric is one of {known}. Received: metric={metric!r}")
        return self.metrics.get(metric)

    @classmethod
    def of(cls, values: dict[str, Any]) -> PathRecord:
        """Return the record that `dataclasses.asdict` made a dictionary of."""
        relaxed = values["relaxed"]
        return cls(**{**values, "relaxed": None if relaxed is None else cls.of(relaxed)})


class Recorder:
    """Measures a model after each fit.

    Args:
        fits: The model.
        examples: The training examples.
        validation: The validation examples; None for none.
    """

    def __init__(self, fits: Fits, examples: Examples, validation: Examples | None):
        self._fits, self._examples, self._validation = fits, examples, validation

    def record(self, strength: float, epochs: int, start: float, relaxed: bool = False) -> PathRecord:
        """Return what the model is now.

        Args:
            strength: The strength of the fit.
            epochs: The passes of the fit.
            start: When it began, by `time.perf_counter`.
            relaxed: Whether the weights that aren't zero were fitted without penalty.
        """
        seconds = time.perf_counter() - start
        objective, measured = self._fits.objective, self._fits.meter.measure()
        total = measured.total
        loss, gradients = objective.loss_and_gradients(self._examples)
        return PathRecord(
            strength=strength,
            train_loss=loss,
            validation_loss=None if self._validation is None else objective.loss(self._validation),
            metrics=self._metrics(),
            penalty=objective.penalty(),
            weights=total.count,
            zeros=total.zeros,
            groups=total.groups,
            live_groups=total.groups - total.dead_groups,
            parameters=measured.report.total.live,
            violation=objective.violation(gradients, strength, relaxed) if strength else None,
            epochs=epochs,
            seconds=seconds,
        )

    def _metrics(self) -> dict[str, float]:
        if self._validation is None or len(self._fits.model.metrics) < 2:  # the loss is the first
            return {}
        given = dict(zip(("y", "sample_weight"), self._validation.parts[1:], strict=False))
        found = self._fits.model.evaluate(self._validation.fed, **given, batch_size=1024, verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items() if name != "loss"}


def rows_of(records: Sequence[PathRecord]) -> list[list[str]]:
    """Return the records as the cells of a table, the head first.

    Args:
        records: Fits.
    """
    metrics = list(records[0].metrics) if records else []
    checked = bool(records) and records[0].validation_loss is not None
    heads = ["validation loss", *metrics] if checked else []
    rows = [["strength", "zeros", "parameters", "loss", *heads, "KKT"]]
    for one in records:
        share = f"{one.zeros / one.weights:.1%}" if one.weights else "-"
        others = [f"{one.validation_loss:.4f}", *(f"{one.metrics[name]:.4f}" for name in metrics)] if checked else []
        kkt = "-" if one.violation is None else f"{one.violation:.1e}"
        rows.append([f"{one.strength:.3g}", share, f"{one.parameters:,}", f"{one.train_loss:.4f}", *others, kkt])
    return rows
