"""Shrink the model of a finished run: a run with the smallest model that passed, and its SavedModel."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras

from tf_reg.recipes import columns, run, run_report, training
from tf_reg.recipes.compacted import Compacted
from tf_reg.recipes.custom import load_model
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.notes import warnings_as_notes
from tf_reg.recipes.retracing import expected_retracing
from tf_reg.selection.examples import examples_of
from tf_reg.selection.frontier import Shrunk, size_of
from tf_reg.selection.shrink import shrink
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write.options import Options
from tf_reg_cli.checks import flag
from tf_reg_cli.config import Config
from tf_reg_cli.errors import FailedError, UserError
from tf_reg_cli.files import Source, whole, write_whole


def shrink_run(
    source: Source, name: str | None, runs_dir: Path | None, saved_models_dir: Path, rate: float, **wanted: Any
) -> str:
    """Shrink the model of a run, write a new run, export its model, and return the tables to print.

    Args:
        source: The run.
        name: The name of the new run; None for that of the run with `-shrunk` behind it.
        runs_dir: Where the new run goes; None for where the run lies.
        saved_models_dir: Where its SavedModel goes.
        rate: The learning rate of Adam.
        **wanted: What `tf_reg.shrink` takes besides.

    Raises:
        UserError: Something can't be read or written, or too few validation images.
        FailedError: No smaller model passed.
        KeyboardInterrupt: On Ctrl-C; the message says where the candidates are.
    """
    assert source.run is not None
    config, images = _config(source.run / "config.json")
    folder, exports = _folders(source, name, runs_dir, saved_models_dir)
    model = load_model(source.file)
    keras.utils.set_random_seed(config.seed)
    try:
        with warnings_as_notes(_in_flags), expected_retracing():
            optimizer: Any = keras.optimizers.Adam(rate)
            data = examples_of(images.train_eval, "train"), examples_of(images.validation, "validation")
            more = {"batch_size": config.batch_size, "seed": config.seed, **wanted}
            found = shrink(model, *data, optimizer=optimizer, folder=folder / "shrink", **more)
    except ValueError as error:
        raise UserError(_in_flags(str(error))) from error
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}. Choose another --runs-dir.") from error
    if not found.found:
        print(f"\n{found}")
        raise FailedError(f"{found.verdict} Nothing was exported. The candidates lie in {folder / 'shrink'}.")
    config.save(folder / "config.json")
    return _written(model, found, config, images, folder, exports)


def _folders(source: Source, name: str | None, runs_dir: Path | None, saved_models_dir: Path) -> tuple[Path, Path]:
    """The folder of the new run, which may have candidates already, and that of its SavedModel."""
    assert source.run is not None
    name = name or f"{source.name}-shrunk"
    beside = source.run.parent if source.run.name else source.run.resolve().parent  # of the current folder
    folder = (beside if runs_dir is None else runs_dir) / name
    exports = saved_models_dir / name
    taken = [str(path) for path in (folder / "metrics.json", exports) if path.exists()]
    if taken or (folder.exists() and not (folder / "shrink").is_dir()):
        raise UserError(
            f"{taken[0] if taken else folder} exists and is never overwritten. Choose another --name, or remove it."
        )
    return folder, exports


def _config(file: Path) -> tuple[Config, Data]:
    try:
        config = Config(**json.loads(file.read_text()))
        images = training.load_data(config)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"The run's data can't be had: {error}") from error
    if images.task == "regression":
        raise UserError("shrink tests accuracies, which a regression hasn't got. Train with --target-sparsity instead.")
    return config, images


def _written(model: keras.Model, found: Shrunk, config: Config, images: Data, folder: Path, exports: Path) -> str:
    """Write the model that was found, its numbers and its SavedModel; returns the tables."""
    with whole(folder / "model.keras") as unfinished:
        found.model.save(unfinished)
    metrics = {**_sizes(model), **_tested(model, images)}
    small = {**_sizes(found.model), **_tested(found.model, images)}
    made = Compacted(model, found.model, None, metrics | {f"compact_{key}": value for key, value in small.items()})
    made.compare(images)
    examples = run.test_images(images)
    details = {**columns.described(images), "config": dataclasses.asdict(config)}

    def kept() -> dict[str, Any]:
        own = {"name": folder.name, **small, "max_drop": found.max_drop, "level": found.level}
        return own | {key: value for key, value in made.metrics.items() if key == "latency"}

    def look() -> None:
        write_whole(folder / "metrics.json", json.dumps(kept(), indent=2, allow_nan=False) + "\n")

    try:
        more = (Options(**columns.names(images)), examples, lambda: details | {"metrics": kept()})
        verification = made.export(exports, None, *more, look=look)
    except VerificationError as error:
        raise UserError(f"The model can't be exported: {error} It lies in {folder}.") from error
    run_report.of_shrink(folder, found, made.table(made.metrics), config)
    return f"\n{found}\n\n{made.table(made.metrics)}\n\nrun         {folder}\nSavedModel  {verification.path}"


def _sizes(model: keras.Model) -> dict[str, int]:
    sizes = dataclasses.asdict(size_of(model))
    return {name: value for name, value in sizes.items() if value is not None}


def _tested(model: keras.Model, images: Data) -> dict[str, float]:
    losses = model.evaluate(images.test, verbose=0, return_dict=True)
    return {f"test_{key}": value for key, value in losses.items() if key in ("accuracy", "data_loss")}


def _in_flags(text: str) -> str:
    """Name the flags in a sentence that names arguments of `tf_reg.shrink`."""
    text = text.replace("Give more validation examples", "Train the run with a larger --validation-split")
    for field in ("max_drop", "fewer candidates"):
        text = text.replace(field, f"fewer {flag('candidates')}" if field == "fewer candidates" else flag(field))
    return text
