"""How many training steps a call of the compiled function makes."""

from __future__ import annotations

import math

import keras

from tf_reg.compaction.cost import multiply_adds, total
from tf_reg.compaction.plan import analysed
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError

SECONDS = 0.1  # that a call should take, so that progress moves about ten times a second
MOST = 50  # steps; with more of them, what is between two calls is nothing beside them already
# Seconds that a step takes on two cores for each variable, each weight, and each multiply-add of each example.
VARIABLE, WEIGHT, MULTIPLY_ADD = 2e-4, 4e-9, 4e-11
FLOAT16 = 5  # how many times as long multiply-adds take in float16, which processors don't have


def steps_per_execution(model: keras.Model, config: Config, train_size: int) -> int:
    """Return how many steps a call of the compiled training function makes.

    A number in the configuration is that number. `"auto"` is as many steps as take about a tenth of a second on two
    cores. That depends on the configuration, the network and the number of images alone, and on no clock, so that a
    training that is repeated has the same steps. It is 1 where `TargetSparsity` moves the strength, which it may do
    after any step, and on torch, where Keras has no other number.

    Between two calls the callbacks run. A call ends with its epoch at the latest.

    Args:
        model: The network.
        config: The configuration.
        train_size: How many training images there are.

    Raises:
        UserError: A number above 1 on torch.
    """
    on_torch, given = keras.backend.backend() == "torch", config.steps_per_execution
    if on_torch and given not in ("auto", 1):
        raise UserError(
            f"--steps-per-execution {given} needs KERAS_BACKEND=tensorflow or jax: on torch, Keras makes one step an "
            "execution. Leave it out."
        )
    if given != "auto":
        return given
    if on_torch or config.target_sparsity is not None:
        return 1
    batch_size = min(config.batch_size, train_size)
    steps = int(SECONDS / seconds_of_step(model, batch_size, config.precision))
    return max(1, min(steps, MOST, math.ceil(train_size / batch_size)))


def seconds_of_step(model: keras.Model, batch_size: int, precision: str) -> float:
    """Return about how many seconds a training step takes on two cores; infinity, if nobody knows."""
    found = total(multiply_adds(analysed(model), lambda one: one.shape).values())
    if found is None:
        return math.inf
    variables = VARIABLE * len(model.trainable_variables) + WEIGHT * model.count_params()
    return variables + MULTIPLY_ADD * found * batch_size * (FLOAT16 if precision == "mixed_float16" else 1)
