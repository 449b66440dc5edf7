"""A mistake in an argument is one sentence of ours, for every public function and class."""

import inspect
import operator

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.right_calls import CALLS
from tests.tools import ROOT, slow_on_tensorflow

pytestmark = pytest.mark.contract
NAN = float("nan")
VALUES = {
    "None": None,
    "a word": "nonsense",
    "an empty list": [],
    "a list": [1, "a"],
    "NaN": NAN,
    "minus one": -1,
    "huge": 10**400,
    "an array": np.array([0, 1]),
    "an object": object(),
    "a tensor of NaN": ops.convert_to_tensor(NAN),
    "true": True,
}


PATHS = ("regularization_path", "cross_validate", "stability_selection")
ANYTHING = {"proximal_map.regularizer", "proximal_of.optimizer"}  # they answer None
# What is right although it looks wrong, and counts that only training can tell to be too high.
RIGHT = {
    "None": {
        "DropBlock2D.data_format", "DropBlock2D.seed", "DropConnect.seed", "StochasticDepth.seed",
        "GapController.metric", "GroupLasso.l", "SparseGroupLasso.l", "Proximal.name", "TargetSparsity.refit_epochs",
        "TargetSparsity.initial", "TargetSparsity.keep_zeros", "TargetSparsity.round_to", "mc_predict.seed",
        "mc_predict.layers", "StochasticWeightAveraging.data", "compact.examples", "compact.round_to",
        "plan_compaction.round_to", "self_check.examples", "LogSum.groups", "MCP.groups", "SCAD.groups", "Resume.every",
        "Reweight.scale", "Reweight.end", "set_penalty_factors.scale",
        "shrink.score", "shrink.folder", "shrink.distill", "read_table.task",
        *(f"{name}.{one}" for name in PATHS for one in ("epochs", "dense_epochs", "batch_size", "folder")),
        "regularization_path.validation", "cross_validate.groups", "cross_validate.grid", "read_table.target",
    },
    "an array": {
        "StochasticWeightAveraging.data", *(f"expected_calibration_error.{one}" for one in ("y_true", "probabilities")),
    },
    "a word": {
        "report.title", "DropoutSchedule.layers", "GapController.metric", "Proximal.name", "shrink.folder",
        "Resume.folder", *(f"{name}.folder" for name in PATHS),
    },
    "an empty list": {
        "read_table.categorical", "read_table.drop", "tf1.sum_regularizer.regularizer_list", "tf1.SumRegularizer.terms",
    },
    "minus one": {"DropBlock2D.seed", "DropConnect.seed", "StochasticDepth.seed"},
    "huge": {
        "Refit.epochs", "RegularizationLogger.update_freq", "TargetSparsity.refit_epochs", "mc_predict.seed",
        "compact.round_to", "plan_compaction.round_to", "self_check.seed",
        "Reweight.every", "Reweight.start", "Reweight.end",
    },
    "true": {
        "ColumnLasso.size_weights", "ChannelLasso.size_weights", "ChannelPenalty.size_weights",
        "GroupLasso.size_weights", "SparseGroupLasso.size_weights", "RegularizationLogger.per_layer",
        "TargetSparsity.keep_zeros", "TargetSparsity.exact", "LogSum.size_weights", "MCP.size_weights",
        "SCAD.size_weights", "Proximal.penalty_factors", "Proximal.dual_averaging", "shrink.verbose", "shrink.distill",
        "mc_predict.same_masks", "report.overwrite", "Resume.reread", "TrainingGuard.locate",
        "cross_validate.relax", "regularization_path.relax", *(f"{name}.verbose" for name in PATHS),
    },
}  # fmt: skip
if keras.backend.backend() == "jax":  # its seeds have no sign
    del RIGHT["minus one"]
KERAS_SAYS = {"Proximal.inner_optimizer", "Proximal.name"}  # in one sentence of its own
SERVING = {"export", "verify_saved_model"}  # their tests are in tests/serving


def arguments():
    for name in CALLS:
        function = operator.attrgetter(name)(tf_reg)
        for argument, how in inspect.signature(function).parameters.items():
            if how.kind not in (how.VAR_POSITIONAL, how.VAR_KEYWORD):
                yield f"{name}.{argument}"


def test_every_public_name_is_here():
    assert {name for name in CALLS if "." not in name} | SERVING == set(tf_reg.__all__)


BUILDING = (
    "mc_predict",
    "shrink.verbose",
    "shrink.distill",
    "shrink.score",
    "shrink.folder",
    "report",
    "regularize",
    "remove_regularizers",
    "tf1",
    "Proximal",
)


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[slow_on_tensorflow] if p.startswith(BUILDING) else []) for p in arguments()]
)
def test_a_mistake_is_one_sentence(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, argument = path.rsplit(".", 1)
    for label, value in VALUES.items():
        given = {**{key: make() for key, make in CALLS[name].items()}, argument: value}
        if path in ANYTHING or path in RIGHT.get(label, ()):
            operator.attrgetter(name)(tf_reg)(**given)
            continue
        with pytest.raises((ValueError, TypeError)) as caught:
            operator.attrgetter(name)(tf_reg)(**given)
        sentence, raised = str(caught.value), caught.traceback[-1].path
        if path not in KERAS_SAYS:
            assert "Received" in sentence, (label, sentence)
            assert ROOT / "tf_reg" in raised.parents, (label, sentence)
        assert len(sentence) < 700 or label == "huge", (label, sentence)


@pytest.mark.parametrize("value", [-5.0, NAN, float("inf")])
@pytest.mark.parametrize(
    "convert", [float, np.float32, np.array, ops.convert_to_tensor, lambda x: keras.Variable(np.float32(x))]
)
@pytest.mark.parametrize("built", [pytest.param(False, marks=slow_on_tensorflow), True])
def test_no_strength_below_zero_in_whatever_form_it_comes(value, convert, built):
    optimizer = tf_reg.Proximal("sgd")
    if built:
        optimizer.build([keras.Variable(np.ones(2))])
    for set_it in (
        lambda: setattr(optimizer, "strength", convert(value)),
        lambda: tf_reg.Proximal("sgd", strength=convert(value)),
        lambda: tf_reg.GroupLasso(convert(value)),
        lambda: tf_reg.SparseGroupLasso(convert(value)),
        lambda: tf_reg.MCP(convert(value)),
        lambda: tf_reg.Lq(convert(value)),
        lambda: tf_reg.StochasticDepth(convert(value)),
    ):
        with pytest.raises(ValueError, match="Received"):
            set_it()
    for right in (0.5, np.float32(0.5), np.array(0.5), ops.convert_to_tensor(0.5), keras.Variable(np.float32(0.5))):
        optimizer.strength = right
        assert float(ops.convert_to_numpy(optimizer.strength)) == 0.5


@pytest.mark.parametrize("value", [-5.0, NAN, "a", None])
def test_what_schedules_return(value):
    fitted = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(1, kernel_regularizer="l1")])
    fitted.compile(tf_reg.Proximal("sgd"), "mse")
    for schedule in (tf_reg.StrengthSchedule, tf_reg.DropoutSchedule):
        with pytest.raises(ValueError, match="Received"):
            fitted.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0, callbacks=[schedule(lambda epoch: value)])


def test_a_strength_that_is_not_known_yet_is_taken():
    """In a step that is compiled, Python can't read a tensor. Outside, the same tensor is checked."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX assigns no variable in a compiled step, and torch compiles none")
    import tensorflow as tf

    optimizer = tf_reg.Proximal("sgd")
    optimizer.build([keras.Variable(np.ones(2))])

    @tf.function
    def step(strength):
        optimizer.strength = strength

    step(tf.constant(0.25))
    assert float(optimizer.strength.numpy()) == 0.25
