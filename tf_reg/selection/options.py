"""How to make a path: the arguments of the functions that make one, checked, and the plan of its walk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_reg._checks import count, is_integer, number, require, shown
from tf_reg.selection.examples import Examples
from tf_reg.selection.fits import Fits
from tf_reg.selection.walk import Plan, is_linear

BuildModel = Callable[..., keras.Model]
_LARGER = ("accuracy", "acc", "auc", "precision", "recall", "f1", "r2")  # how names end of metrics that grow


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments that a path and a cross-validation have in common.

    Args:
        epochs: As in `regularization_path`.
        dense_epochs: As in `regularization_path`.
        batch_size: As in `regularization_path`.
        count: As in `regularization_path`.
        smallest: As in `regularization_path`.
        tolerance: As in `regularization_path`.
        relax: As in `regularization_path`.
        seed: As in `regularization_path`.
        verbose: As in `regularization_path`.

    Raises:
        ValueError: One that is out of its range.
    """

    epochs: int | None
    dense_epochs: int | None
    batch_size: int | None
    count: int
    smallest: float
    tolerance: float
    relax: bool
    seed: int
    verbose: int

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("dense_epochs", 1), ("batch_size", 1), ("count", 2), ("seed", 0)):
            if getattr(self, name) is not None or name in ("count", "seed"):
                object.__setattr__(self, name, count(getattr(self, name), name, least))  # NumPy's as Python's
        require(0 < number(self.smallest) < 1, "smallest is a share, above 0 and below 1", "smallest", self.smallest)
        above = 0 < number(self.tolerance) < math.inf
        require(above, "tolerance is a number above 0", "tolerance", self.tolerance)
        require(isinstance(self.relax, bool), "relax is True or False", "relax", self.relax)
        check_verbose(self.verbose)
        for name in ("smallest", "tolerance"):
            object.__setattr__(self, name, number(getattr(self, name)))

    def prepared(self, build_model: BuildModel, examples: Examples, **arguments: Any) -> tuple[Fits, Plan]:
        """Build the model, and decide how to walk.

        Args:
            build_model: As in `regularization_path`.
            examples: The training examples.
            **arguments: What `build_model` is called with.
        """
        fits = Fits(built(build_model, **arguments), examples, self.batch_size or 32, self.seed)
        down = is_linear(fits)
        if down and self.batch_size is None:
            fits.batch_size = len(examples)
        plan = Plan(
            down=down,
            epochs=self.epochs or (100_000 if down else 10),
            dense_epochs=self.dense_epochs or 30,
            tolerance=self.tolerance,
            count=self.count,
            smallest=self.smallest,
            relax=self.relax,
            verbose=bool(self.verbose),
        )
        return fits, plan


def built(build_model: BuildModel, **arguments: Any) -> keras.Model:
    """Call the user's function.

    Args:
        build_model: Returns a compiled model.
        **arguments: What it is called with.

    Raises:
        ValueError: It is no function, or returns no model.
    """
    function = callable(build_model) and not isinstance(build_model, keras.Layer)
    require(function, "build_model is a function that returns a new compiled model", "build_model", build_model)
    model = build_model(**arguments)
    if not isinstance(model, keras.Model):
        raise ValueError(f"build_model is a function that returns a keras.Model. It returned: {shown(model)}")
    return model


def described(fits: Fits, plan: Plan) -> dict[str, Any]:
    """Return what the fits of a model depend on, without the names that Keras counts up in a process.

    Args:
        fits: The model.
        plan: How to walk.
    """
    model, penalties = fits.model, [claim.stand_in.regularizer for claim in fits.objective.claims]
    return {
        "plan": {key: value for key, value in dataclasses.asdict(plan).items() if key != "verbose"},
        "model": [[list(one.shape), one.dtype] for one in model.variables],
        "layers": [type(layer).__name__ for layer in model.layers],
        "loss": model.loss if isinstance(model.loss, str) else repr(type(model.loss)),
        "optimizer": _plain(model.optimizer.get_config()),
        "penalties": [_plain(keras.saving.serialize_keras_object(getattr(one, "rule", one))) for one in penalties],
        "batch_size": fits.batch_size,
        "seed": fits.seed,
    }


def _plain(config: Any) -> Any:
    """A configuration without what differs from one object to the next that was made alike."""
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in config.items() if key not in ("name", "shared_object_id")}
    return [_plain(one) for one in config] if isinstance(config, (list, tuple)) else shown(config)


def check_verbose(verbose: Any) -> None:
    """Check whether to print.

    Args:
        verbose: 0 or 1, or a boolean.

    Raises:
        ValueError: Something else.
    """
    known = isinstance(verbose, bool) or (is_integer(verbose) and verbose in (0, 1))
    require(known, "verbose is 0 or 1", "verbose", verbose)


def checked_strengths(strengths: Any) -> list[float]:
    """Return given strengths as numbers.

    Args:
        strengths: What was given.

    Raises:
        ValueError: Other things than numbers above zero, or one twice.
    """
    listed = list(strengths) if isinstance(strengths, (list, tuple, np.ndarray, range)) else []
    numbers = [number(one) for one in listed]
    right = bool(numbers) and all(0 < one < math.inf for one in numbers) and len(set(numbers)) == len(numbers)
    require(right, "strengths is 'auto', or different numbers above zero", "strengths", strengths)
    return numbers


def sign(metric: str, mode: str) -> int:
    """Return 1 for a metric whose smallest value is the best, and -1 for the others.

    Args:
        metric: Its name.
        mode: `"auto"`, `"min"` or `"max"`.

    Raises:
        ValueError: Another mode, or `"auto"` for a metric of which it isn't known.
    """
    known = isinstance(mode, str) and mode in ("auto", "min", "max")
    require(known, "mode is 'auto', 'min' or 'max'", "mode", mode)
    if mode != "auto":
        return 1 if mode == "min" else -1
    require(isinstance(metric, str), "metric is 'loss' or the name of a metric", "metric", metric)
    if metric.endswith(_LARGER):
        return -1
    if metric.endswith(("loss", "error", "mse", "mae", "crossentropy")):
        return 1
    raise ValueError(f"mode is 'min' or 'max' for a metric of your own. Received: mode='auto', metric={metric!r}")
