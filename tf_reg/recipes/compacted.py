"""A trained model made smaller by `tf_reg.compact`: what that saves, and its export in the place of the model."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg._backend import tensors_of_data
from tf_reg._text_table import aligned
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import CompactionPlan, plan_compaction
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.retracing import expected_retracing
from tf_reg.serving import saved_graph
from tf_reg.serving.exporting import exported
from tf_reg.serving.verify import latency
from tf_reg.serving.verify.latency import Job, Latency
from tf_reg.serving.verify.verification import Verification
from tf_reg.serving.write import warmup
from tf_reg.serving.write.formats import FORMATS
from tf_reg.serving.write.options import DEFAULT, Options, structures
from tf_reg_cli.errors import UserError

BATCHES = (1, 64)  # examples a call


@dataclasses.dataclass(frozen=True)
class Compacted:
    """A model and its compacted form.

    Args:
        model: The dense model.
        small: The compacted one.
        plan: What was cut out; None where the small model was trained after that.
        metrics: Numbers of both, as for `metrics.json`. Those of the compacted model are called `compact_...`.
    """

    model: keras.Model
    small: keras.Model
    plan: CompactionPlan | None
    metrics: dict[str, Any]

    @property
    def saves(self) -> bool:
        """Whether anything was cut out."""
        return self.metrics["parameters"] > self.metrics["compact_parameters"]

    def compare(self, images: Data) -> None:
        """Count the test examples that the two models give different classes; nothing for a regression."""
        if images.task == "regression":
            return
        with expected_retracing():
            one, other = (model.predict(images.test, verbose=0).argmax(-1) for model in (self.model, self.small))
        changed = int((one != other).sum())
        self.metrics.update(test_size=images.test_size, compact_changed_predictions=changed)

    def export(
        self,
        folder: Path,
        version: int | None,
        options: Options,
        examples: Any,
        details: Callable[[], Mapping[str, Any]],
        *,
        gpu: bool = True,
        look: Callable[[], object] = lambda: None,
    ) -> Verification:
        """Export the compacted model, and measure it beside the dense one before it is published.

        The dense one is exported too, to a folder that isn't kept.

        Args:
            folder: The base folder.
            version: The version, None for the next one.
            options: The signatures.
            examples: Inputs to verify with.
            details: Returns what the manifest shall say besides.
            gpu: Whether every operation must have a GPU kernel.
            look: Called when all is measured, just before the version is published.
        """
        with tempfile.TemporaryDirectory() as elsewhere:
            dense = Path(elsewhere) / folder.name

            def measure(staged: Path) -> None:
                if self.saves:
                    self._measure(dense / "1", staged)
                look()

            if self.saves:
                exported(self.model, dense, 1, dataclasses.replace(options, formats=()), examples, details(), gpu=gpu)
            return exported(self.small, folder, version, options, examples, details(), gpu=gpu, look=measure)

    def _measure(self, dense: Path, small: Path) -> None:
        """Measure two SavedModels and the models that they are of, in turn."""
        inputs = next(record.inputs for record in warmup.read(dense / warmup.FILE) if record.signature == DEFAULT)
        batches = [{name: _repeated(array, size) for name, array in inputs.items()} for size in BATCHES]
        served = latency.latency_apart(dense, small, [(_job(dense, batch), _job(small, batch)) for batch in batches])
        found = {"keras": [self._in_keras(batch) for batch in batches], "saved_model": served}
        self.metrics.update(
            saved_model_bytes=_size(dense),
            compact_saved_model_bytes=_size(small),
            latency={
                f"{where}_batch_{size}": dataclasses.asdict(one)
                for where, ones in found.items()
                for size, one in zip(BATCHES, ones, strict=True)
            },
        )

    def _in_keras(self, batch: Mapping[str, np.ndarray]) -> Latency:
        given = _in_structure(self.model, list(map(_fed, batch.values())))
        with expected_retracing():
            return latency.latency(
                lambda: self.model.predict_on_batch(given), lambda: self.small.predict_on_batch(given)
            )

    def table(self, metrics: Mapping[str, Any]) -> str:
        """Return what goes and what that saves, as text.

        Args:
            metrics: The numbers to show, those of this object and more.
        """
        if not self.saves:
            return f"{self.plan}\n\nNothing can be removed. The SavedModel has the whole model."
        rows = [["", "dense", "compact", "dense / compact", "control"], *_rows(metrics)]
        lines = [*([] if self.plan is None else [str(self.plan), ""]), *aligned(rows)]
        if "latency" in metrics:
            lines += [
                f"Times are medians of up to {latency.MOST} calls, in turn: dense, compact, and dense again,",
                "which is the control. A ratio is the median of the ratios within a turn.",
            ]
        if "compact_changed_predictions" in metrics:
            changed, size = metrics["compact_changed_predictions"], metrics["test_size"]
            lines.append(f"{changed:,} of {size:,} test examples get another class from the compacted model.")
        return "\n".join(lines)


def compacted(model: keras.Model, examples: Any = None) -> Compacted:
    """Compact a model; the state of its optimizer is kept, where it is compiled.

    Args:
        model: A built model.
        examples: Inputs for the check that both compute the same, `(batch, ...)`, of a table a dictionary of these;
            None for random ones alone.

    Raises:
        UserError: The model can't be compacted.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            plan = plan_compaction(model)
            given = examples if examples is None or isinstance(examples, dict) else _in_structure(model, [examples])
            small = compact(model, given, keep_optimizer=model.compiled)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"The model can't be compacted: {error}") from error
    for warning in caught:
        print(f"Note: {warning.message}", file=sys.stderr)
    found = {"parameters": plan.parameters}
    if plan.multiply_adds is not None:
        found["multiply_adds"] = plan.multiply_adds
    metrics = {name: before for name, (before, _) in found.items()}
    return Compacted(model, small, plan, metrics | {f"compact_{name}": after for name, (_, after) in found.items()})


def _in_structure(model: keras.Model, arrays: list[np.ndarray]) -> Any:
    """Arrays in the structure that a model takes; a wrong number of them as they are, for the check to refuse."""
    structure = structures(model)[0]
    if len(arrays) != len(keras.tree.flatten(structure)):
        return arrays
    return keras.tree.pack_sequence_as(structure, arrays)


def _fed(array: np.ndarray) -> Any:
    """What Keras takes: strings as a tensor of TensorFlow."""
    return tensors_of_data(array) if array.dtype == object else array


def _repeated(array: np.ndarray, size: int) -> np.ndarray:
    """Some examples, over and over until there are enough."""
    return np.take(array, range(size), axis=0, mode="wrap")


def _job(saved_model: Path, inputs: Mapping[str, np.ndarray]) -> Job:
    signature = saved_graph.signatures(saved_graph.load(saved_model))[DEFAULT]
    feeds = {signature.inputs[name].name: array for name, array in inputs.items()}
    return feeds, [tensor.name for tensor in signature.outputs.values()]


def _size(version: Path) -> int:
    """The bytes of a SavedModel, without the files of other formats beside it."""
    others = {version / one.file for one in FORMATS.values()}
    return sum(path.stat().st_size for path in version.rglob("*") if path.is_file() and path not in others)


def _rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for label, name, form in (
        ("parameters", "parameters", "{:,}"),
        ("multiply-adds", "multiply_adds", "{:,}"),
        ("SavedModel (bytes)", "saved_model_bytes", "{:,}"),
        ("test accuracy", "test_accuracy", "{:.4f}"),
        ("test R2", "test_r2", "{:.4f}"),
        ("test loss, no penalty", "test_data_loss", "{:.6f}"),
    ):
        if f"compact_{name}" in metrics:
            both = metrics[name], metrics[f"compact_{name}"]
            ratio = "" if name.startswith("test") or not both[1] else f"{both[0] / both[1]:.2f}"
            rows.append([label, *map(form.format, both), ratio, ""])
    for where, one in metrics.get("latency", {}).items():
        place, _, size = where.partition("_batch_")
        label = f"{'Keras' if place == 'keras' else 'SavedModel'}, batch {size} (ms)"
        times = [f"{one[key]:.3f}" for key in ("dense_ms", "compact_ms")]
        rows.append([label, *times, f"{one['ratio']:.2f}", f"{one['control']:.2f}"])
    return rows
