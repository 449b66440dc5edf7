"""Every way to hold a Proximal, in every kind of training: a penalty moves its weight exactly once a step.

The data has no gradient here. A penalty of slope L1 moves the weight by RATE * L1, whether the gradient does it or the
proximal step. Only the proximal step makes a weight exactly zero that is smaller than this.
"""

import keras
import numpy as np
import pytest

import tf_reg
from tests.optimizers.loops import L1, RATE, START, batch, compile, descend, kernel_of, layer, no_loss, sequential, sgd
from tests.tools import mostly_slow, slow_on_tensorflow

pytestmark = pytest.mark.contract

BACKEND = keras.backend.backend()


class OwnStep(keras.Model):
    """A model whose training step calls the optimizer that `choose` returns."""

    def __init__(self, penalised, choose):
        super().__init__()
        self.penalised, self.choose = penalised, choose
        self.build((None, 2))

    def build(self, shape):
        self.penalised.build(shape)
        self.built = True

    def call(self, x):
        return self.penalised(x)

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss = descend(lambda: self.compute_loss(x=x, y=y, y_pred=self(x)), self.choose(self), self.trainable_variables)
        return {"loss": loss}


def own_step(choose, keep=lambda model, proximal: None, afterwards=lambda model, proximal: None):
    def hold(proximal, penalised):
        model = OwnStep(penalised, choose(proximal))
        keep(model, proximal)
        compile(model, sgd())
        afterwards(model, proximal)
        return model

    return hold


def compiled(wrap):
    def hold(proximal, penalised):
        return compile(sequential(penalised), wrap(proximal))

    return hold


def built_by_hand(proximal, penalised):
    model = sequential(penalised)
    proximal.build(penalised.trainable_variables)
    return compile(model, proximal)


def multi(proximal):
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd(), {".*kernel": proximal}))


IN_COMPILE = {
    "compile": compiled(lambda proximal: proximal),
    "loss scale": compiled(lambda proximal: keras.optimizers.LossScaleOptimizer(proximal, initial_scale=8.0)),
    "multi": compiled(multi),
    "built by hand": built_by_hand,
}
IN_OWN_STEP = {
    "attribute": own_step(lambda p: lambda m: m.second, lambda m, p: setattr(m, "second", p)),
    "list": own_step(lambda p: lambda m: m.all[0], lambda m, p: setattr(m, "all", [p])),
    "dict": own_step(lambda p: lambda m: m.all["a"], lambda m, p: setattr(m, "all", {"a": p})),
    "closure": own_step(lambda p: lambda m: p),
    "closure, built": own_step(lambda p: lambda m: p, afterwards=lambda m, p: p.build(m)),
}
if not hasattr(keras.optimizers, "MultiOptimizer"):  # Keras 3.10 has none
    del IN_COMPILE["multi"]
# Keras on JAX has the variables of one optimizer in the state of a training step.
HOLDERS = IN_COMPILE if BACKEND == "jax" else IN_COMPILE | IN_OWN_STEP
PLAIN = ("compile",)
holders = pytest.mark.parametrize(
    "hold",
    [pytest.param(hold, id=name, marks=() if name in PLAIN else pytest.mark.slow) for name, hold in HOLDERS.items()],
)


def make(hold):
    """The model and its Proximal."""
    proximal = tf_reg.Proximal(sgd())
    return hold(proximal, layer()), proximal


def fit(model):
    model.fit(*batch(), verbose=0)


def pays_once(step, variable, proximal=True):
    """Each step moves the weight once, and a small weight to exactly zero if this is a proximal step."""
    variable.assign(np.full((2, 1), START, "float32"))
    for count in (1, 2):
        step()
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), START - count * RATE * L1, rtol=1e-5)
    variable.assign(np.full((2, 1), RATE * L1 / 4, "float32"))
    step()
    expected = 0.0 if proximal else -0.75 * RATE * L1
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-4, atol=0.0)


@holders
def test_fit_and_evaluate(hold):
    """`evaluate` reports the penalty and moves nothing, before the first step and after it."""
    model, _ = make(hold)
    kernel = kernel_of(model)
    assert model.evaluate(*batch(), verbose=0) == pytest.approx(2 * L1)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), 1.0)
    fit(model)
    assert model.evaluate(*batch(), verbose=0) == pytest.approx(2 * L1 * (1 - RATE * L1))
    pays_once(lambda: fit(model), kernel)


@holders
@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX compiles and torch doesn't: there is one kind of fit")
def test_fit_eagerly(hold):
    model, _ = make(hold)
    model.run_eagerly = True
    pays_once(lambda: fit(model), kernel_of(model))


@holders
def test_another_model_over_the_layer_with_a_plain_optimizer(hold):
    """Its penalty is in the gradient. In the first model it is still in the proximal step."""
    model, _ = make(hold)
    kernel = kernel_of(model)
    fit(model)
    other = compile(sequential(model.layers[0]), sgd())
    pays_once(lambda: fit(other), kernel, proximal=False)
    assert [row.acts_in for row in tf_reg.regularizers_of(other).weights] == ["loss"]
    other.evaluate(*batch(), verbose=0)
    pays_once(lambda: fit(model), kernel)


@pytest.mark.parametrize(
    "hold", [pytest.param(h, id=n, marks=() if n == "compile" else slow_on_tensorflow) for n, h in IN_COMPILE.items()]
)
def test_compiled_again_with_a_plain_optimizer(hold):
    model, proximal = make(hold)
    fit(model)
    compile(model, sgd())
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["loss"]
    pays_once(lambda: fit(model), kernel_of(model), proximal=False)
    assert proximal.built


@holders
@pytest.mark.parametrize("way", ["eager"] if BACKEND == "torch" else mostly_slow(["eager", "compiled"], "eager"))
def test_a_loop_of_ones_own(hold, way):
    """Over the model, after a fit of it. `build` says who trains."""
    model, proximal = make(hold)
    fit(model)
    proximal.build(model)
    step = no_loss(model, proximal, way)
    pays_once(step, kernel_of(model))


@pytest.mark.parametrize("way", ["eager"] if BACKEND == "torch" else mostly_slow(["eager", "compiled"], "eager"))
def test_a_loop_of_ones_own_after_a_plain_optimizer(way):
    """Nothing else says that the loop trains with it."""
    model, proximal = make(HOLDERS["compile"])
    fit(model)
    compile(model, sgd())
    fit(model)
    proximal.build(model)
    pays_once(no_loss(model, proximal, way), kernel_of(model))
    pays_once(lambda: fit(model), kernel_of(model), proximal=False)


@slow_on_tensorflow
def test_a_loop_that_calls_no_build_is_right_and_learns():
    """The first step leaves the penalty in the gradient: the model was compiled with another optimizer."""
    model, proximal = make(HOLDERS["compile"])
    fit(model)
    compile(model, sgd())
    pays_once(no_loss(model, proximal, "eager"), kernel_of(model))
    pays_once(lambda: fit(model), kernel_of(model), proximal=False)


@slow_on_tensorflow
def test_two_over_a_shared_layer():
    shared = layer()
    models = [compile(sequential(shared), tf_reg.Proximal(sgd())) for _ in range(2)]
    for model in (*models, *models):
        pays_once(lambda model=model: fit(model), shared.kernel)
    loops = [no_loss(model, model.optimizer, "eager") for model in models]
    for step in (*loops, *loops):
        pays_once(step, shared.kernel)
    compile(models[1], sgd())
    pays_once(lambda: fit(models[1]), shared.kernel, proximal=False)
    pays_once(lambda: fit(models[0]), shared.kernel)


@slow_on_tensorflow
def test_a_second_optimizer_that_the_step_of_keras_never_calls():
    """An attribute alone doesn't train: Keras' own step calls the optimizer of `compile`."""
    model, proximal = make(HOLDERS["compile"])
    fit(model)
    compile(model, sgd())
    model.second = proximal
    pays_once(lambda: fit(model), kernel_of(model), proximal=False)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a compiled step with an optimizer that nobody can see")
def test_a_compiled_step_that_could_not_know_says_what_to_call():
    """The penalty is in its gradient, once, and a warning says so."""
    model, proximal = make(HOLDERS["closure"])
    proximal.build(model.trainable_variables)
    with pytest.warns(UserWarning, match=r"optimizer\.build\(model\) after model\.compile"):
        fit(model)
    pays_once(lambda: fit(model), kernel_of(model), proximal=False)
    proximal.build(model)
    compile(model, model.optimizer)
    pays_once(lambda: fit(model), kernel_of(model))
