"""Train the model that a configuration asks for, and measure what came out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_reg.callbacks import regularization_logger
from tf_reg.callbacks.gap_controller import GapController
from tf_reg.callbacks.hard_budget import HardBudget
from tf_reg.callbacks.refit import Refit
from tf_reg.callbacks.reweight import Reweight
from tf_reg.callbacks.share import ShareMeter
from tf_reg.callbacks.strength_schedule import StrengthSchedule
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.callbacks.weight_averaging import StochasticWeightAveraging, renew_batch_normalization
from tf_reg.compaction.plan import CompactionPlan, plan_compaction
from tf_reg.measure.meter import Meter
from tf_reg.optimizers.proximal import Proximal
from tf_reg.recipes.data import image_data, table_data
from tf_reg.recipes.data.mixing import mixed
from tf_reg.recipes.data.table_data import Data, TableData
from tf_reg.recipes.execution import steps_per_execution
from tf_reg.recipes.interrupt import StopAfterBatch
from tf_reg.recipes.models import networks, table_networks
from tf_reg.recipes.one_device import OneDevice
from tf_reg.recipes.progress import Progress
from tf_reg.recipes.stopped import explained
from tf_reg.tables.losses import MeanRelativeSquaredError, RelativeSquaredError
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled, refit_epochs
from tf_reg_cli.errors import UserError

NEAR_ZERO = 1e-3


def prepare(config: Config, images: Data | None = None) -> tuple[keras.Model, Data]:
    """Return the compiled model and the data that `config` asks for.

    Sets the process' random seed, dtype policy and op determinism: the same configuration on the same machine gives
    the same numbers.

    Args:
        config: The configuration.
        images: Its data, if it is loaded already.

    Raises:
        UserError: Data that can't be had, or a network that doesn't take the images, the penalty or the target.
    """
    keras.utils.set_random_seed(config.seed)
    if not config.jit:  # Keras doesn't compile with XLA where this is on
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.precision)
    images = load_data(config) if images is None else images.anew()
    config = with_task(config, images)
    model = build_model(config, images)
    _check_target(model, config)
    compile_model(model, config, images.train_size, images.moments)
    return model, images


def with_task(config: Config, images: Data) -> Config:
    """Return a configuration that says the task of a table.

    Args:
        config: A configuration.
        images: The data that it names.

    Raises:
        UserError: Flags that don't fit the task.
    """
    return dataclasses.replace(config, task=images.task) if config.is_table else config


def load_data(config: Config) -> Data:
    """Load the data set that `config` names."""
    if config.is_table:
        return table_data.load(
            config.dataset,
            batch_size=config.batch_size,
            target=config.target,
            task=config.task,
            categorical=config.categorical or (),
            drop=config.drop or (),
            train_size=config.train_size,
            validation_split=config.validation_split,
            seed=config.seed,
        )
    image_size: Any = config.image_size  # height and width
    return image_data.load(
        config.dataset,
        batch_size=config.batch_size,
        data_dir=config.data_dir,
        image_size=image_size,
        color_mode=config.color_mode,
        train_size=config.train_size,
        validation_split=config.validation_split,
        seed=config.seed,
        skip_damaged=config.skip_damaged,
    )


def build_model(config: Config, images: Data) -> keras.Model:
    """Build the model that `config` asks for, for these images or this table."""
    config = filled(config, images.train_size)
    if isinstance(images, TableData):
        if config.jit and any(column.kind == "category" for column in images.rows.columns):
            raise UserError("--jit compiles with XLA, which takes no strings. Leave it out, or --drop the categories.")
        return table_networks.build(config, images.features(), images.class_names, images.moments)
    return networks.build(
        config,
        image_shape=images.image_shape,
        classes=len(images.class_names),
        mean=images.mean,
        variance=images.variance,
        flippable=images.flippable,
    )


def _check_target(model: keras.Model, config: Config) -> None:
    """Check that a network has what a target counts, and that an exact one leaves something of it."""
    if config.target_sparsity is None or not (config.exact_target or config.target_of in ("channels", "flops")):
        return
    of = config.target_of
    try:
        meter = ShareMeter(model, of)
        meter.measure()
        if config.exact_target:
            HardBudget(model, of, meter.channels, config.target_sparsity, config.round_to or 1)
    except ValueError as error:
        raise UserError(f"--model {config.model} can't have this --target-sparsity. {error}") from error


def compile_model(
    model: keras.Model, config: Config, train_size: int, moments: tuple[float, float] | None = None
) -> None:
    """Compile a classifier of one-hot labels, or a regression, with the loss without penalty as the metric `data_loss`.

    Args:
        model: The model.
        config: The configuration.
        train_size: How many training examples there are.
        moments: Mean and variance of the training targets of a regression; None for a classifier.
    """
    config = filled(config, train_size)
    loss, metrics = _classifier(config) if moments is None else _regression(moments[1])
    model.compile(
        optimizer=_optimizer(model, config, epoch=math.ceil(train_size / config.batch_size)),
        loss=loss,
        metrics=metrics,
        steps_per_execution=steps_per_execution(model, config, train_size),
        jit_compile="auto" if keras.backend.backend() == "jax" else config.jit,  # JAX is of no use without
    )


def _classifier(config: Config) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
    smoothing = config.label_smoothing
    return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing), [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.CategoricalCrossentropy(name="data_loss", label_smoothing=smoothing),
    ]


def _regression(variance: float) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
    return RelativeSquaredError(variance), [
        keras.metrics.R2Score(name="r2"),
        keras.metrics.RootMeanSquaredError(name="rmse"),
        keras.metrics.MeanAbsoluteError(name="mae"),
        MeanRelativeSquaredError(variance, name="data_loss"),
    ]


def _optimizer(model: keras.Model, config: Config, epoch: int) -> keras.Optimizer:
    rate: Any = config.learning_rate
    epochs: Any = config.epochs  # numbers, in a configuration that is filled in
    if config.schedule == "cosine":
        falling = config.decay_epochs or epochs
        before = (epochs - falling) * epoch
        rate = keras.optimizers.schedules.CosineDecay(  # a warm-up from the rate to itself is a constant rate
            rate, falling * epoch, warmup_target=rate if before else None, warmup_steps=before
        )
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }
    extra: dict[str, Any] = {"momentum": config.momentum} if config.optimizer in ("sgd", "rmsprop") else {}
    if config.ema is not None:
        extra |= {"use_ema": True, "ema_momentum": config.ema}
    optimizer = kinds[config.optimizer](
        rate, weight_decay=config.weight_decay or None, clipnorm=config.clipnorm, **extra
    )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if "kernel" not in v.name])
    if not config.pays_proximally:
        return optimizer
    return Proximal(optimizer, penalty_factors=config.reweight, dual_averaging=config.dual_averaging)


def fit(
    model: keras.Model,
    config: Config,
    images: Data,
    readers: Sequence[keras.callbacks.Callback] = (),
    silent: bool = False,
    devices: OneDevice | None = None,
) -> None:
    """Train a compiled model.

    Args:
        model: The model that `prepare` returned.
        config: Epochs, early stopping, and how much to print.
        images: The data that `prepare` returned.
        readers: Callbacks that see every key of `RegularizationLogger` in their `logs`.
        silent: Whether to print nothing.
        devices: What to train it on; one device if not given.
    """
    config, devices = filled(config, images.train_size), devices or OneDevice()
    logger = regularization_logger.RegularizationLogger(per_layer=True, near_zero=NEAR_ZERO)
    stopping = []
    if config.early_stopping is not None:
        stopping = [
            keras.callbacks.EarlyStopping(
                "val_data_loss", patience=config.early_stopping, mode="min", restore_best_weights=True
            )
        ]
    interrupt = StopAfterBatch()
    with interrupt.listening(), explained():
        model.fit(
            devices.share(mixed(images.train, config)),
            epochs=config.epochs,
            shuffle=False,  # the pipeline does
            validation_data=devices.share(images.validation),
            verbose=0,  # `Progress` prints
            callbacks=[
                *_strength(config),
                logger,
                *readers,
                *stopping,
                *_averages(config, images),
                *([] if silent else [Progress(redraw=False if config.quiet else None)]),
                interrupt,
            ],
        )

    if config.ema is not None:
        renew_batch_normalization(model, images.train_eval)


def _averages(config: Config, images: Data) -> list[keras.callbacks.Callback]:
    """What puts an average of the weights in their place, if anything does."""
    if config.ema is not None:
        return [keras.callbacks.SwapEMAWeights()]
    return [StochasticWeightAveraging(config.swa, images.train_eval)] if config.swa is not None else []


def _strength(config: Config) -> list[keras.callbacks.Callback]:
    """What moves the penalty's factor, or the factors of its parts, if anything does."""
    moves: list[keras.callbacks.Callback] = [Reweight()] if config.reweight else []
    if config.strength_schedule == "gap":
        moves.append(GapController())
    if config.strength_schedule == "rise":
        half = max(1, (config.epochs or 0) // 2)
        moves.append(StrengthSchedule(lambda epoch: min(1.0, (epoch + 1) / half)))
    if config.target_sparsity is not None:
        refit, exact, blocks = config.refit_epochs, config.exact_target, config.round_to
        moves.append(
            TargetSparsity(config.target_sparsity, config.target_of, refit_epochs=refit, exact=exact, round_to=blocks)
        )
    elif refit_epochs(config):
        moves.append(Refit(refit_epochs(config)))
    return moves


def measure(model: keras.Model, images: Data, plan: CompactionPlan | None = None) -> dict[str, Any]:
    """Evaluate a trained model on all three splits, in inference mode, and measure its weights.

    Args:
        model: The model.
        images: The data.
        plan: What compaction would remove from it, if that is known.
    """
    metrics: dict[str, Any] = {}
    for name, dataset in (("train", images.train_eval), ("validation", images.validation), ("test", images.test)):
        losses = model.evaluate(dataset, verbose=0, return_dict=True)
        metrics |= {f"{name}_{key}": value for key, value in losses.items()}
        metrics[f"{name}_size"] = getattr(images, f"{name}_size")
    measured = Meter(model, NEAR_ZERO, whole=True).measure()
    if measured.layers:
        metrics |= {"sparsity": measured.model.zero_share, "near_sparsity": measured.model.near_zero_share}
        metrics |= {"weights": measured.model.count, "weights_left": measured.model.count - measured.model.zeros}
    parameters, live = (plan or plan_compaction(model)).parameters
    return metrics | {"penalty": measured.total.penalty, "parameters": parameters, "live_parameters": live}
