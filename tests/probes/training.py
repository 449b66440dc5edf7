"""Probes of what trains: optimizers, penalties, callbacks and precisions, each with its row of docs/backends.md."""

import contextlib
import tempfile

import keras
import numpy as np
from keras import optimizers, regularizers

import tf_reg
from tests.probes.network import BACKEND, network, probe, proximal, trained, zeros
from tf_reg import _xla

INNER = {
    "`Proximal(SGD)`, with momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "`Proximal(Adam)`": lambda: optimizers.Adam(0.02),
    "`Proximal(AdamW)`": lambda: optimizers.AdamW(0.02),
    "`Proximal(RMSprop)`": lambda: optimizers.RMSprop(0.01),
    "`Proximal(Adagrad)`": lambda: optimizers.Adagrad(0.1),
}


@probe(*INNER)
def inner_optimizers(row):
    assert zeros(trained(tf_reg.Proximal(INNER[row]()), regularizers.L1(0.02))) > 16
    assert zeros(trained(INNER[row](), regularizers.L1(0.02))) == 0  # without Proximal there is none
    return "yes"


@probe("another inner optimizer")
def other_inner_optimizers():
    tf_reg.Proximal(optimizers.Lion(1e-3))
    return "yes"


@probe("the step as one kernel")
def one_kernel():
    taken, run = [], _xla.Kernels.run
    _xla.Kernels.run = lambda *args, **options: (taken.append(1), run(*args, **options))[1]
    before, _xla.WORTH_COMPILING = _xla.WORTH_COMPILING, 1
    try:
        trained(proximal(), regularizers.L1(0.02))
    finally:
        _xla.Kernels.run, _xla.WORTH_COMPILING = run, before
    if taken:
        return "yes"
    return "yes: JAX compiles the whole step" if BACKEND == "jax" else "yes: operation by operation"


PENALTIES = {
    "`GroupLasso`, `SparseGroupLasso`": lambda: [tf_reg.GroupLasso(0.02), tf_reg.SparseGroupLasso(0.02, 0.02)],
    "`MCP`, `SCAD`, `LogSum`, `Lq`": lambda: [
        tf_reg.MCP(0.02), tf_reg.SCAD(0.02), tf_reg.LogSum(0.02), tf_reg.Lq(0.002)
    ],
}  # fmt: skip


@probe(*PENALTIES)
def penalties(row):
    for penalty in PENALTIES[row]():
        assert zeros(trained(proximal(), penalty, epochs=20)) > 8, penalty
    return "yes"


@probe("`ChannelLasso`")
def channel_lasso():
    model = network()
    tf_reg.regularize(model, {"dense*": tf_reg.ChannelLasso(0.05)})
    model = trained(proximal(), epochs=30, model=model)
    assert tf_reg.compact(model).count_params() < model.count_params()
    return "yes"


@probe("dual averaging (RMDA, RAMDA)")
def dual_averaging():
    for inner in (optimizers.SGD(0.1, momentum=0.9), optimizers.Adam(0.02)):
        assert zeros(trained(tf_reg.Proximal(inner, dual_averaging=True), regularizers.L1(0.02), epochs=20)) > 16
    return "yes"


@probe("`RegularizationLogger`")
def logger():
    model = trained(proximal(), regularizers.L1(0.02), callbacks=[tf_reg.RegularizationLogger()])
    assert np.isclose(model.history.history["sparsity"][-1], tf_reg.sparsity(model).total.sparsity)
    return "yes"


@probe("`TargetSparsity`")
def target_sparsity():
    model = trained(proximal(), regularizers.L1(1e-3), 40, [tf_reg.TargetSparsity(0.5)])
    assert abs(zeros(model) / 128 - 0.5) < 0.05  # of the weights that pay
    return "yes"


@probe("an exact budget, `TargetSparsity(exact=True)`")
def exact_budget():
    model = trained(proximal(), regularizers.L1(1e-3), 40, [tf_reg.TargetSparsity(0.5, exact=True)])
    assert zeros(model) == 64  # half of the weights that pay
    return "yes"


class Stops(keras.callbacks.Callback):
    """Ends the training as a Ctrl-C does."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


@probe("`Resume`, to the last bit")
def resume():
    def ended(folder, *more):
        keras.utils.set_random_seed(1)
        callbacks = [tf_reg.Resume(folder), *more]
        with contextlib.suppress(KeyboardInterrupt):
            trained(proximal(), epochs=6, callbacks=callbacks, model=(model := network(regularizers.L1(0.01), 0.2)))
        return model.get_weights()

    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
        wanted, half = ended(whole), ended(cut, Stops())
        found = ended(cut)
    assert not all(np.array_equal(one, other) for one, other in zip(wanted, half, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(wanted, found, strict=True))
    return "yes"


@probe("averages of the weights, with zeros")
def averages():
    model = trained(proximal(), regularizers.L1(0.02), 10, [tf_reg.StochasticWeightAveraging(3)])
    moving = tf_reg.Proximal(optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9))
    assert zeros(model) > 16
    assert zeros(trained(moving, regularizers.L1(0.02), 20)) > 8
    return "yes"


@probe("`jit_compile=True`")
def jit():
    assert zeros(trained(proximal(), regularizers.L1(0.02), jit_compile=True)) > 16
    return "yes"


@probe("`mixed_bfloat16`", "`mixed_float16`")
def precision(row):
    keras.config.set_dtype_policy(row.strip("`"))
    try:
        assert zeros(trained(proximal(), regularizers.L1(0.02), 20)) > 16
    finally:
        keras.config.set_dtype_policy("float32")
    return "yes"
