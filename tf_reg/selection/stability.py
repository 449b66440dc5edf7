"""Stability selection: which inputs a penalty keeps, whichever half of the examples it sees."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from tf_reg import _walk
from tf_reg._checks import count, number, require
from tf_reg._text_table import aligned
from tf_reg.penalties.groups import grouping
from tf_reg.selection.examples import Examples, examples_of
from tf_reg.selection.fits import Fits
from tf_reg.selection.options import BuildModel, Options, checked_strengths, described
from tf_reg.selection.store import Store
from tf_reg.selection.walk import Plan, Walk


@dataclasses.dataclass(frozen=True)
class Stability:
    """What `tf_reg.stability_selection` found. Print it for a table.

    Args:
        strengths: The strengths, `(strengths,)`, the largest first.
        frequencies: For each penalised kernel, by its path: in which share of the samples each input has a weight that
            isn't zero, `(strengths, inputs)`.
        samples: How many samples there were.
    """

    strengths: np.ndarray
    frequencies: dict[str, np.ndarray]
    samples: int

    def selected(self, path: str | None = None, threshold: float = 0.9) -> np.ndarray:
        """Return the inputs that are stable: kept in so many samples at one strength or more, `(inputs,)`, boolean.

        Args:
            path: The kernel; it can be left out where there is one.
            threshold: The share of samples, above 0.5; the paper takes 0.6 to 0.9.

        Raises:
            ValueError: An unknown kernel, or another threshold.
        """
        require(0.5 < number(threshold) <= 1, "threshold is a share above 0.5", "threshold", threshold)
        known = ", ".join(map(repr, self.frequencies))
        chosen = next(iter(self.frequencies)) if path is None and len(self.frequencies) == 1 else path
        require(chosen in self.frequencies, f"path is one of {known}", "path", path)
        return self.frequencies[str(chosen)].max(axis=0) >= threshold

    def expected_false(self, path: str | None = None, threshold: float = 0.9) -> float:
        """Return the bound on how many of the selected inputs have no effect, on average.

        It is `q^2 / ((2 threshold - 1) p)`, with p inputs, of which q are kept in a sample at one strength or more, on
        average (theorem 1 of the paper). It holds where inputs without effect are equally likely to be kept.

        Args:
            path: As in `selected`.
            threshold: As in `selected`.
        """
        inputs = len(self.selected(path, threshold))
        chosen = next(iter(self.frequencies)) if path is None else path
        kept = float(self.frequencies[chosen].max(axis=0).sum())
        return kept**2 / ((2 * threshold - 1) * inputs)

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows))

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table, the head first."""
        rows = [["kernel", "strength", "inputs", "in 60 %", "in 90 %"]]
        for path, shares in self.frequencies.items():
            for strength, line in zip(self.strengths, shares, strict=True):
                counts = [len(line), int((line >= 0.6).sum()), int((line >= 0.9).sum())]
                rows.append([path, f"{strength:.3g}", *map(str, counts)])
        return rows


def stability_selection(
    build_model: BuildModel,
    data: Any,
    strengths: Sequence[float],
    *,
    samples: int = 100,
    share: float = 0.5,
    epochs: int | None = None,
    dense_epochs: int | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> Stability:
    """Find the inputs that penalties keep in most random halves of the examples.

    One fit keeps some inputs by chance. Here the model is fitted to many halves of the examples, drawn without
    replacement, and it is counted in how many of them each input has a weight that isn't zero.

    Use it to find the inputs that matter. To predict, choose the strength with `tf_reg.cross_validate`.

    Meinshausen & Bühlmann 2010, "Stability selection".

    Args:
        build_model: As in `tf_reg.regularization_path`, with a penalty such as `L1` on a linear layer, or
            `GroupLasso(1.0, groups="inputs")` on the first layer of a network.
        data: The examples, as in `tf_reg.regularization_path`.
        strengths: The strengths, numbers above zero. Look at a path for those at which few inputs are left.
        samples: How many samples, 2 or above.
        share: The share of the examples in each of them, above 0 and below 1.
        epochs: As in `tf_reg.regularization_path`.
        dense_epochs: As in `tf_reg.regularization_path`.
        batch_size: As in `tf_reg.regularization_path`.
        tolerance: As in `tf_reg.regularization_path`.
        seed: Of the samples and of the order of the examples.
        folder: As in `tf_reg.regularization_path`; an interrupted call goes on where it stopped.
        verbose: 1 to print a line for each sample, 0 for none.

    Raises:
        ValueError: As in `tf_reg.regularization_path`; no penalised kernel whose inputs are known.

    Example:

    >>> def build_model():
    ...     layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
    ...     model = keras.Sequential([keras.Input((5,)), layer])
    ...     model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
    ...     return model
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> y = x[:, 0] - x[:, 1] + rng.normal(size=60)
    >>> found = tf_reg.stability_selection(build_model, (x, y), [1.0], samples=5, verbose=0)
    >>> found.selected().tolist()
    [True, True, False, False, False]
    """
    samples = count(samples, "samples", 2)
    require(0 < number(share) < 1, "share is above 0 and below 1", "share", share)
    options = Options(epochs, dense_epochs, batch_size, 2, 0.5, tolerance, False, seed, verbose)
    examples = examples_of(data)
    size = math.floor(number(share) * len(examples))
    require(size >= 1, f"share leaves at least one of {len(examples)} examples", "share", share)
    given = checked_strengths(strengths)
    fits, plan = options.prepared(build_model, examples)
    kernels = _kernels(fits)
    settings = {**described(fits, plan), "strengths": given, "data": examples.fingerprint(), "share": number(share)}
    sampling = _Sampling(fits, plan, kernels, given, Store(folder, settings))
    kept = [sampling.kept(examples, (options.seed, place), size) for place in range(samples)]
    shares = {path: np.mean([one[place] for one in kept], axis=0) for place, path in enumerate(kernels)}
    return Stability(np.array(sorted(given, reverse=True)), shares, samples)


class _Sampling:
    """Fits of one model to many samples, each kept."""

    def __init__(
        self, fits: Fits, plan: Plan, kernels: dict[str, _walk.Weight], strengths: Sequence[float], store: Store
    ):
        self._fits, self._plan, self._kernels, self._store = fits, plan, kernels, store
        self._order = sorted(strengths, reverse=plan.down)
        self._start = fits.state()

    def kept(self, examples: Examples, number: tuple[int, int], size: int) -> list[np.ndarray]:
        """For each kernel which inputs a sample keeps at each strength, the largest first, `(strengths, inputs)`."""
        name = f"{number[1]:05d}"
        found = self._store.load(name)
        arrays = self._fitted(examples.take(_drawn(number, len(examples), size))) if found is None else found[1]
        if found is None:
            self._store.save(name, {}, arrays)
        if self._plan.verbose:
            print(f"sample {number[1] + 1}", flush=True)
        return arrays

    def _fitted(self, half: Examples) -> list[np.ndarray]:
        self._fits.restore(self._start)
        walk = Walk(self._fits, half, None, dataclasses.replace(self._plan, verbose=False), None)
        walk.start()
        alive = {}
        for place, strength in enumerate(self._order):
            walk.visit(place, strength)
            alive[strength] = _alive(self._fits, self._kernels)
        return [np.array([alive[one][path] for one in sorted(alive, reverse=True)]) for path in self._kernels]


def _drawn(number: tuple[int, int], count: int, size: int) -> np.ndarray:
    return np.random.default_rng(number).permutation(count)[:size]


def _kernels(fits: Fits) -> dict[str, _walk.Weight]:
    """The kernels with a penalty that gives zeros whose inputs are known, by their paths."""
    chosen = {id(claim.variable) for claim in fits.objective.selected}
    weights = [one for one in _walk.weights(fits.model) if id(one.variable) in chosen and one.is_kernel]
    found = {one.path: one for one in weights if one.layout is not None}
    if not found:
        raise ValueError(
            "Stability selection counts the inputs of kernels. Received a model without a penalty that gives zeros on "
            "a kernel whose inputs are known. Give its first layer a kernel_regularizer such as keras.regularizers.L1."
        )
    return found


def _alive(fits: Fits, kernels: dict[str, _walk.Weight]) -> dict[str, np.ndarray]:
    """Which inputs have a weight that isn't zero."""
    found = {}
    for path, weight in kernels.items():
        plan = grouping(weight.shape, "inputs", weight.known_layout())
        sizes = plan.root_mean_squares(ops.convert_to_tensor(weight.variable))
        found[path] = ops.convert_to_numpy(sizes).ravel() > 0
    return found
