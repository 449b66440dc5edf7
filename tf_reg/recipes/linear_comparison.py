"""Least squares, lasso, ridge and elastic net by tf_reg beside scikit-learn's: coefficients, pictures, a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_reg._text_table import aligned
from tf_reg.optimizers.proximal import Proximal
from tf_reg.reporting import page
from tf_reg.reporting.figures import legend, panels, save
from tf_reg.reporting.page import Picture, Section
from tf_reg.selection.path import RegularizationPath, regularization_path
from tf_reg_cli.files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 3000  # of gradient descent on all examples
LASSO, RIDGE, NET = 0.2, 1.0, (0.2, 0.5)  # alpha; of the elastic net alpha and l1_ratio
FEATURES, TRUE, SPARSE_SIZE = 20, (3.0, -2.0, 1.5, 1.0, -0.7), 100
TEXTS = (
    "Left: a noisy line and the fit of each method. Right: the weights of 20 features, of which five have an effect.",
    "The weights of the lasso at each strength; the dotted lines are those of scikit-learn.",
)


@dataclasses.dataclass(frozen=True)
class Data:
    """A regression.

    Args:
        name: What it is.
        x: Features, `(examples, features)`.
        y: Targets, `(examples,)`.
        true: The weights that the targets were made with, `(features,)`.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    true: np.ndarray


@dataclasses.dataclass(frozen=True)
class Method:
    """A linear model of scikit-learn, and the regularizer that makes it one of Keras.

    Args:
        name: Its name.
        theirs: Makes scikit-learn's model.
        ours: Makes the regularizer for a mean of squares, from the number of examples.
    """

    name: str
    theirs: Callable[[], Any]
    ours: Callable[[int], keras.Regularizer | None]


@dataclasses.dataclass(frozen=True)
class Fit:
    """The coefficients of both.

    Args:
        data: The data set.
        method: The method.
        ours: The weights of the Keras model, `(features,)`, and its bias.
        theirs: Those of scikit-learn.
    """

    data: Data
    method: Method
    ours: tuple[np.ndarray, float]
    theirs: tuple[np.ndarray, float]

    @property
    def difference(self) -> float:
        """The largest difference between two coefficients."""
        weights = np.abs(self.ours[0] - self.theirs[0]).max()
        return float(max(weights, abs(self.ours[1] - self.theirs[1])))


def methods() -> tuple[Method, ...]:
    """Return the methods that are compared."""
    from sklearn import linear_model

    penalties, (alpha, ratio) = keras.regularizers, NET
    return (
        Method("least squares", linear_model.LinearRegression, lambda n: None),
        Method(f"Lasso({LASSO:g})", lambda: linear_model.Lasso(LASSO, tol=1e-10), lambda n: penalties.L1(2 * LASSO)),
        Method(f"Ridge({RIDGE:g})", lambda: linear_model.Ridge(RIDGE), lambda n: penalties.L2(RIDGE / n)),
        Method(
            f"elastic net ({alpha:g}, {ratio:g})",
            lambda: linear_model.ElasticNet(alpha, l1_ratio=ratio, tol=1e-10),
            lambda n: penalties.L1L2(2 * alpha * ratio, alpha * (1 - ratio)),
        ),
    )


def data(seed: int) -> tuple[Data, Data]:
    """Return the noisy line of the articles, and 20 features of which five have an effect.

    Args:
        seed: A non-negative integer.
    """
    random = np.random.default_rng(seed)
    x = np.sort(random.uniform(-1, 1, size=(30, 1)), axis=0)
    line = Data("a noisy line", x, 2 * x[:, 0] + 1 + random.normal(scale=0.5, size=30), np.array([2.0]))
    features = random.normal(size=(SPARSE_SIZE, FEATURES))
    true = np.r_[TRUE, np.zeros(FEATURES - len(TRUE))]
    targets = features @ true + random.normal(size=SPARSE_SIZE)
    return line, Data("20 features, five with an effect", features, targets, true)


def compare(seed: int) -> list[Fit]:
    """Fit each method to both data sets, by Keras and by scikit-learn.

    Args:
        seed: The seed of the data.
    """
    return [_fit(one, method) for one in data(seed) for method in methods()]


def _fit(one: Data, method: Method) -> Fit:
    theirs = method.theirs().fit(one.x, one.y)
    keras.utils.clear_session()
    model = _model(one, method.ours(len(one.y)))
    batch = one.x.astype("float32"), one.y.astype("float32")[:, None]
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(STEPS), epochs=1, shuffle=False, verbose=0)
    kernel, bias = (np.asarray(variable) for variable in model.layers[-1].weights)
    return Fit(one, method, (kernel[:, 0], float(bias[0])), (theirs.coef_, float(theirs.intercept_)))


def _model(one: Data, regularizer: keras.Regularizer | None) -> keras.Model:
    """A linear model that descends along the gradient of all examples, at the largest safe rate."""
    layer = keras.layers.Dense(1, kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((one.x.shape[1],)), layer])
    columns = np.c_[one.x, np.ones(len(one.x))]
    curvature = 2 * np.linalg.eigvalsh(columns.T @ columns / len(one.x))[-1] + 1
    optimizer = keras.optimizers.SGD(0.9 / curvature, momentum=0.9, nesterov=True)
    model.compile(Proximal(optimizer), "mse", steps_per_execution=100)
    return model


def path(one: Data) -> RegularizationPath:
    """Return the path of the lasso on a data set, 30 strengths down to a hundredth."""
    return regularization_path(
        lambda: _model(one, keras.regularizers.L1(1.0)), (one.x, one.y), count=30, smallest=1e-2, verbose=0
    )


def table(fits: list[Fit]) -> list[list[str]]:
    """Return the cells of the table, the head first."""
    rows = [["data", "method", "zeros", "error of the weights", "largest difference to scikit-learn"]]
    for fit in fits:
        error = float(np.linalg.norm(fit.ours[0] - fit.data.true))
        zeros = f"{int((fit.ours[0] == 0).sum())} of {len(fit.ours[0])}"
        rows.append([fit.data.name, fit.method.name, zeros, f"{error:.3f}", f"{fit.difference:.1e}"])
    return rows


def write(fits: list[Fit], stem: Path) -> Path:
    """Draw both pictures, write the report, and return it.

    Args:
        fits: What `compare` returned.
        stem: The path of the files without their ends: `runs/linear` for `runs/linear.html`.
    """
    files = [stem.with_name(f"{stem.name}{end}.png") for end in ("", "-path")]
    _draw_fits(fits, files[0])
    sparse = next(fit.data for fit in fits if len(fit.data.true) > 1)
    _draw_path(sparse, path(sparse), files[1])
    report = stem.with_name(f"{stem.name}.html")
    pictures = [Picture(file.read_bytes(), text) for file, text in zip(files, TEXTS, strict=True)]
    with whole(report) as unfinished:
        section = Section("Coefficients", TEXTS, table(fits), words=2, pictures=pictures)
        page.write(unfinished, "Linear models", [section])
    return report


def text(fits: list[Fit]) -> str:
    """Return the table as text."""
    return "\n".join(aligned(table(fits), words=2))


def _draw_fits(fits: list[Fit], file: Path) -> None:
    figure, (left, right) = panels(2, "")
    line = [fit for fit in fits if len(fit.data.true) == 1]
    left.plot(line[0].data.x[:, 0], line[0].data.y, ".", color="black")
    ends = np.array([-1.0, 1.0])
    for fit in line:
        left.plot(ends, ends * fit.ours[0][0] + fit.ours[1], label=fit.method.name)
    left.set_xlabel("x")
    left.set_ylabel("y")
    _draw_weights(right, [fit for fit in fits if len(fit.data.true) > 1])
    for axes in (left, right):
        legend(axes)
    with whole(file) as unfinished:
        save(figure, unfinished)


def _draw_weights(axes: Axes, fits: list[Fit]) -> None:
    places, width = np.arange(len(fits[0].data.true)), 0.8 / len(fits)
    for number, fit in enumerate(fits):
        axes.bar(places + width * (number - (len(fits) - 1) / 2), fit.ours[0], width, label=fit.method.name)
    axes.step(np.r_[places - 0.5, places[-1] + 0.5], np.r_[fits[0].data.true, 0], where="post", color="black",
              linewidth=0.8, label="true weight")  # fmt: skip
    axes.set_xlabel("feature")
    axes.set_ylabel("weight")


def _draw_path(one: Data, found: RegularizationPath, file: Path) -> None:
    from sklearn.linear_model import lasso_path

    figure, [axes] = panels(1, "")
    weights = np.stack([next(iter(found.coefficients(place).values()))[:, 0] for place in range(len(found))])
    alphas = found.strengths / 2
    centred = one.x - one.x.mean(0)
    theirs = lasso_path(centred, one.y - one.y.mean(), alphas=alphas, tol=1e-10)[1]
    for number in range(weights.shape[1]):
        color = f"C{number}" if one.true[number] else "#b0b0b0"
        axes.plot(alphas, weights[:, number], color=color, linewidth=1.5)
        axes.plot(alphas, theirs[number], ":", color="black", linewidth=0.9)
    axes.set_xscale("log")
    axes.set_xlabel("alpha of scikit-learn's Lasso")
    axes.set_ylabel("weight")
    axes.grid(alpha=0.3)
    with whole(file) as unfinished:
        save(figure, unfinished)
