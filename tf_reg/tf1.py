"""TensorFlow 1's names for regularisation, with TensorFlow 1's factors, for people who migrate.

| TensorFlow 1 | write today |
|---|---|
| `tf.contrib.layers.l1_regularizer(s)` | `keras.regularizers.L1(s)` |
| `tf.contrib.layers.l2_regularizer(s)`, which is `s * tf.nn.l2_loss(w)` | `keras.regularizers.L2(s / 2)` |
| `tf.contrib.layers.l1_l2_regularizer(a, b)` | `keras.regularizers.L1L2(a, b / 2)` |
| `tf.train.ProximalGradientDescentOptimizer(lr, a, b)` | `tf_reg.Proximal(keras.optimizers.SGD(lr))` |
| `tf.train.ProximalAdagradOptimizer(lr, 0.1, a, b)` | `tf_reg.Proximal(keras.optimizers.Adagrad(lr, 0.1, epsilon=0))` |

with `kernel_regularizer=keras.regularizers.L1L2(a, b / 2)` on the layers in the last two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import regularizers

from tf_reg import _checks
from tf_reg._backend import Tensor
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties import elastic_net

Regularizer = Callable[[Tensor], Tensor]


def l1_regularizer(scale: float) -> keras.Regularizer:
    """TF1's L1: `scale * sum |w|`, which is `keras.regularizers.L1(scale)`.

    Args:
        scale: Not negative.

    Raises:
        ValueError: If `scale` is negative.

    Example:
        >>> tf_reg.tf1.l1_regularizer(0.5).get_config()
        {'l1': 0.5}
    """
    return regularizers.L1(_scale(scale, "scale"))


def l2_regularizer(scale: float) -> keras.Regularizer:
    """TF1's L2: `scale * sum w^2 / 2`, which is `keras.regularizers.L2(scale / 2)`.

    Args:
        scale: Not negative.

    Raises:
        ValueError: If `scale` is negative.

    Example:
        >>> tf_reg.tf1.l2_regularizer(0.5).get_config()
        {'l2': 0.25}
    """
    return regularizers.L2(_scale(scale, "scale") / 2)


def l1_l2_regularizer(scale_l1: float = 1.0, scale_l2: float = 1.0) -> keras.Regularizer:
    """TF1's elastic net: `scale_l1 * sum |w| + scale_l2 * sum w^2 / 2`: `L1L2(scale_l1, scale_l2 / 2)`.

    Args:
        scale_l1: Not negative.
        scale_l2: Not negative.

    Raises:
        ValueError: If one of them is negative.

    Example:
        >>> tf_reg.tf1.l1_l2_regularizer(0.5, 0.5).get_config()
        {'l1': 0.5, 'l2': 0.25}
    """
    return regularizers.L1L2(_scale(scale_l1, "scale_l1"), _scale(scale_l2, "scale_l2") / 2)


def sum_regularizer(regularizer_list: Iterable[Regularizer | None]) -> Regularizer | None:
    """TF1's sum of regularizers, `None` among them ignored; `None` where nothing is left.

    A sum of Keras' L1, L2 and L1L2 is one L1L2, which has a proximal operator.

    Args:
        regularizer_list: Keras regularizers, or functions of a tensor that return a scalar.

    Example:
        >>> both = [tf_reg.tf1.l1_regularizer(0.5), tf_reg.tf1.l2_regularizer(0.5)]
        >>> tf_reg.tf1.sum_regularizer(both).get_config()
        {'l1': 0.5, 'l2': 0.25}
    """
    terms = [term for term in _listed(regularizer_list, "regularizer_list") if term is not None]
    _check_callable(terms, "regularizer_list")
    if len(terms) < 2:
        return terms[0] if terms else None
    return elastic_net.as_one(terms) or SumRegularizer(terms)


@keras.saving.register_keras_serializable(package="tf_reg")
class SumRegularizer(keras.Regularizer):
    """The sum of several penalties of one weight.

    Args:
        terms: Keras regularizers, or functions of a tensor that return a scalar.

    Example:
        >>> terms = [keras.regularizers.L1(0.5), keras.regularizers.OrthogonalRegularizer(0.1)]
        >>> float(tf_reg.tf1.SumRegularizer(terms)(keras.ops.eye(2)))
        1.0
    """

    def __init__(self, terms: Sequence[Regularizer]) -> None:
        self.terms = _listed(terms, "terms")
        _check_callable(self.terms, "terms")

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a weight, a scalar."""
        return sum(term(x) for term in self.terms)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, serialised."""
        return {"terms": [keras.saving.serialize_keras_object(term) for term in self.terms]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SumRegularizer:
        """The regularizer that `get_config` describes."""

        def make(given: dict[str, Any]) -> SumRegularizer:
            terms = [keras.saving.deserialize_keras_object(term) for term in given["terms"]]
            return cls(**{**given, "terms": terms})

        return _checks.from_config(cls.__name__, config, make)


def apply_regularization(regularizer: Regularizer, weights_list: Sequence[Any]) -> Tensor:
    """TF1's penalty of a list of weights: the sum of `regularizer(w)`, a scalar.

    TF1 took the weights of a graph where none were given; there is no such thing today.

    Args:
        regularizer: A Keras regularizer, or a function of a tensor that returns a scalar.
        weights_list: Tensors or Keras variables.

    Raises:
        ValueError: If there are no weights.

    Example:
        >>> weights = [keras.ops.ones(4), keras.ops.ones(2)]
        >>> float(tf_reg.tf1.apply_regularization(tf_reg.tf1.l2_regularizer(1.0), weights))
        3.0
    """
    _check_callable([regularizer], "regularizer")
    weights = _listed(weights_list, "weights_list")
    if not all(_checks.is_array(weight) for weight in weights):
        raise ValueError(
            f"`weights_list` has tensors or variables. Received: weights_list={_checks.shown(weights_list)}."
        )
    if not weights:
        raise ValueError(
            "`weights_list` must name the weights to penalise, such as model.trainable_variables. Received none."
        )
    values = [regularizer(_checks.floats(weight, "weights_list")) for weight in weights]
    dtype = keras.backend.result_type(*(value.dtype for value in values))
    return sum(keras.ops.cast(value, dtype) for value in values)


def ProximalGradientDescentOptimizer(  # noqa: N802
    learning_rate: float,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    *,
    var_list: Sequence[keras.Variable],
) -> Proximal:
    """TF1's proximal gradient descent: `w <- sign(v) max(|v| - lr l1, 0) / (1 + lr l2)` with `v = w - lr gradient`.

    Puts `L1L2(l1, l2 / 2)` on all variables, biases too as TF1 did, and returns `tf_reg.Proximal(SGD)`. Keras then
    reports the penalty in the loss, where TF1 left it out. The layers' configuration doesn't have this penalty, so a
    model that is saved and loaded has none: for that, use `tf_reg.regularize(model, L1L2(l1, l2 / 2))` and
    `tf_reg.Proximal`.

    Args:
        learning_rate: Above 0.
        l1_regularization_strength: The factor of `sum |w|`, not negative.
        l2_regularization_strength: The factor of `sum w^2 / 2`, not negative.
        var_list: The variables, which TF1 took in `minimize`: `model.trainable_variables` of a built model.

    Raises:
        ValueError: If a strength is negative, there are no variables, or one has a regularizer already.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> optimizer = tf_reg.tf1.ProximalGradientDescentOptimizer(0.1, 0.01, var_list=model.trainable_variables)
        >>> model.compile(optimizer, "mse")
    """
    rate = _rate(learning_rate)
    _penalize(var_list, l1_regularization_strength, l2_regularization_strength)
    return _built(keras.optimizers.SGD(rate), var_list)


def ProximalAdagradOptimizer(  # noqa: N802
    learning_rate: float,
    initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    *,
    var_list: Sequence[keras.Variable],
) -> Proximal:
    """TF1's proximal Adagrad: the formula of `ProximalGradientDescentOptimizer` with `lr / sqrt(sum gradient^2)`.

    Args:
        learning_rate: Above 0.
        initial_accumulator_value: What the sum of squared gradients starts from, above 0.
        l1_regularization_strength: The factor of `sum |w|`, not negative.
        l2_regularization_strength: The factor of `sum w^2 / 2`, not negative.
        var_list: As in `ProximalGradientDescentOptimizer`.

    Raises:
        ValueError: If a strength is negative, the accumulator starts at 0, there are no variables, or one has a
            regularizer already.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> optimizer = tf_reg.tf1.ProximalAdagradOptimizer(0.1, var_list=model.trainable_variables)
        >>> model.compile(optimizer, "mse")
    """
    if not _scale(initial_accumulator_value, "initial_accumulator_value") > 0:
        raise ValueError(
            f"`initial_accumulator_value` must be above 0. Received: {_checks.shown(initial_accumulator_value)}."
        )
    rate, start = _rate(learning_rate), _checks.number(initial_accumulator_value)
    _penalize(var_list, l1_regularization_strength, l2_regularization_strength)
    return _built(keras.optimizers.Adagrad(rate, start, epsilon=0.0), var_list)


def _penalize(var_list: Sequence[keras.Variable], l1: float, l2: float) -> None:
    penalty = l1_l2_regularizer(_scale(l1, "l1_regularization_strength"), _scale(l2, "l2_regularization_strength"))
    variables = _listed(var_list, "var_list")
    if not variables or not all(isinstance(variable, keras.Variable) for variable in variables):
        raise ValueError(
            "`var_list` must be model.trainable_variables of a built model. "
            f"Received: var_list={_checks.shown(var_list)}."
        )
    for variable in variables:
        if variable.regularizer is not None:
            raise ValueError(
                f"TF1's proximal optimizers bring their own penalty. Received: {variable.path}, which has one already. "
                "Use tf_reg.Proximal, which takes the penalties that the layers have."
            )
    for variable in variables:
        variable.regularizer = penalty


def _built(inner_optimizer: keras.Optimizer, variables: Sequence[keras.Variable]) -> Proximal:
    optimizer = Proximal(inner_optimizer)
    optimizer.build(variables)
    return optimizer


def _listed(given: Any, name: str) -> list[Any]:
    """What was given as a list or another collection, as a list."""
    if isinstance(given, (str, bytes)) or _checks.is_array(given) or not isinstance(given, Iterable):
        raise ValueError(f"`{name}` must be a list. Received: {name}={_checks.shown(given)}.")
    return list(given)


def _check_callable(regularizers_: Sequence[Any], name: str) -> None:
    for regularizer in regularizers_:
        if not callable(regularizer) or isinstance(regularizer, type):
            raise ValueError(
                f"`{name}` takes Keras regularizers and functions of a tensor. Received: {_checks.shown(regularizer)}."
            )


def _rate(value: Any) -> Any:
    """A learning rate, which is checked here where it is a number, and by Keras where it is anything else."""
    is_schedule = callable(value) or isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
    if not is_schedule and not 0 < _checks.number(value) < math.inf:
        raise ValueError(
            f"`learning_rate` must be a number above 0, or a schedule. Received: learning_rate={_checks.shown(value)}."
        )
    return value if is_schedule else _checks.number(value)


def _scale(value: float, name: str) -> float:
    scale = _checks.number(value)
    if not 0 <= scale < math.inf:
        raise ValueError(f"`{name}` must be a number, 0 or above. Received: {_checks.shown(value)}.")
    return scale
