"""Rules on models that exist: what they match, that they take effect, and what is refused."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops, regularizers

import tf_reg
from tests import models_under_test as models

L1, L2 = regularizers.L1(0.25), regularizers.L2(0.5)


def network():
    encoder = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3, name="conv1"), layers.DepthwiseConv2D(2, name="conv2")],
        name="encoder",
    )
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(encoder(inputs))
    x = layers.Flatten()(x)
    x = layers.Dense(4, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


CONVOLUTIONS = ["encoder/conv1/kernel", "encoder/conv2/kernel"]
KERNELS = [*CONVOLUTIONS, "hidden/kernel", "head/kernel"]
BIASES = ["encoder/conv1/bias", "encoder/conv2/bias", "hidden/bias", "head/bias"]


def total(losses):
    return sum(float(ops.convert_to_numpy(loss)) for loss in losses)


def paths(table):
    return [row.path for row in table.weights]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (L2, KERNELS),
        ("l2", KERNELS),
        ({"*": L2}, KERNELS),
        ({"**": L2}, KERNELS),
        ({layers.Layer: L2}, KERNELS),
        ({"head": L2}, ["head/kernel"]),
        ({"conv1": L2}, ["encoder/conv1/kernel"]),
        ({"encoder": L2}, CONVOLUTIONS),
        ({"encoder/*": L2}, CONVOLUTIONS),
        ({"encoder/conv?": L2}, CONVOLUTIONS),
        ({"**/conv2": L2}, ["encoder/conv2/kernel"]),
        ({"h*": L2}, ["hidden/kernel", "head/kernel"]),
        ({"hidden/bias": L2}, ["hidden/bias"]),
        ({"**/bias": L2}, BIASES),
        ({"**/b*": L2}, [*BIASES[:2], "norm/beta", *BIASES[2:]]),
        ({"**/kernel": L2}, KERNELS),
        ({re.compile("conv"): L2}, CONVOLUTIONS),
        ({re.compile(r"^h.*/.*"): L2}, ["hidden/kernel", "head/kernel"]),
        ({re.compile(r"^h\w+/bias$"): L2}, ["hidden/bias", "head/bias"]),
        ({layers.Dense: L2}, ["hidden/kernel", "head/kernel"]),
        ({layers.DepthwiseConv2D: L2}, ["encoder/conv2/kernel"]),
        ({keras.Sequential: L2}, CONVOLUTIONS),
        ({"norm/gamma": L2}, ["norm/gamma"]),
        ({lambda path, layer, variable: "head" in path: L2}, ["head/kernel", "head/bias"]),
        ({"head": None, "*": L2}, KERNELS[:-1]),
        ({"norm": None, "*": L2}, KERNELS),
        ({"head": L1, layers.Dense: L2, "**/bias": L1}, [*BIASES, "hidden/kernel", "head/kernel"]),
    ],
    ids=str,
)
def test_what_rules_match(rules, expected):
    model = network()
    assert sorted(paths(tf_reg.regularize(model, rules))) == sorted(expected)
    assert len(model.losses) == len(expected)


def test_the_first_match_decides_and_the_rest_stays():
    model = network()
    model.get_layer("norm").gamma.regularizer = model.get_layer("norm").gamma_regularizer = L1
    tf_reg.regularize(model, {"head": L1, layers.Dense: L2})
    assert model.get_layer("head").kernel.regularizer is L1
    assert model.get_layer("hidden").kernel.regularizer is L2
    assert model.get_layer("norm").gamma.regularizer is L1
    assert model.get_layer("encoder").losses == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"hiden": L2}, "'hiden', which matches none. Near it: hidden"),
        ({"encoder/conv1/kernal": L2}, "Near it: encoder/conv1/kernel"),
        ({"kernel": L2}, "'kernel', which matches none"),
        ({layers.LSTM: L2}, "Received: LSTM, which matches none. Near it: BatchNormalization, Conv2D, Dense"),
        ({layers.LSTM: None}, "Received: LSTM, which matches none"),
        ({re.compile("^conv"): L2}, "which matches none"),
        ({lambda path, layer, variable: False: L2}, "Received: <lambda>, which matches none"),
        ({"norm": L2}, r"biases, norms or other vectors alone\. To .*: 'norm/gamma', 'norm/beta'"),
        ({layers.BatchNormalization: L2}, "'norm/gamma'"),
        ({"*": L2, "head": None}, r"Received: 'head' behind '\*', which leaves it nothing"),
        ({3: L2}, "A rule is for a layer's name.* Received: 3"),
        (None, "Received: None. tf_reg.remove_regularizers takes all away"),
        ({}, "rules must have an entry"),
        ({layers.Dense(2, name="stranger"): L2}, "Dense name=stranger, built=False>, which matches none. Near it: "),
        (regularizers.OrthogonalRegularizer(), r"Orthogonal.* for encoder/conv1/kernel of shape \(3, 3, 2, 3\): "),
    ],
    ids=str,
)
def test_rules_that_are_wrong_change_nothing(rules, message):
    model = network()
    with pytest.raises(ValueError, match=message):
        tf_reg.regularize(model, rules)
    assert model.losses == []


def test_a_layer_is_a_key():
    model = network()
    rules = {model.get_layer("encoder"): L1, model.get_layer("head"): L2}
    assert sorted(paths(tf_reg.regularize(model, rules))) == sorted([*CONVOLUTIONS, "head/kernel"])
    assert model.get_layer("head").kernel_regularizer is L2


@pytest.mark.parametrize(
    ("key", "expected"), [("a[0]", "a[0]/kernel"), ("a[0]/bias", "a[0]/bias"), ("a[0-9]", "a0/kernel")]
)
def test_a_name_is_no_glob(key, expected):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a[0]"), layers.Dense(2, name="a0")])
    assert paths(tf_reg.regularize(model, {key: L2})) == [expected]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("right", "kernel"),
        ("right/tower", "kernel"),
        ("right/*", "kernel"),
        ("right/tower/bias", "bias"),
        (re.compile("^right.*kernel"), "kernel"),
        ("left/tower", "kernel"),
    ],
)
def test_a_shared_layer_can_be_said_by_each_of_its_places(key, expected):
    tower, inputs = layers.Dense(2, name="tower"), keras.Input((3,))
    left, right = (keras.Sequential([keras.Input((3,)), tower], name=name) for name in ("left", "right"))
    model = keras.Model(inputs, layers.Add()([left(inputs), right(inputs)]))
    assert paths(tf_reg.regularize(model, {key: L2})) == [f"left/tower/{expected}"]
    assert paths(tf_reg.regularize(model, {right: L1, "*": L2}, unmatched="ignore"))[0] == "left/tower/kernel"
    assert tower.kernel_regularizer is L1


def test_regularizers_are_tried_without_their_values():
    import tensorflow as tf

    eager = []

    def square(w):
        eager.append(tf.executing_eagerly())
        return ops.sum(ops.square(w))

    tf_reg.regularize(network(), {"head": square})
    assert eager == [False]
    by_numpy = lambda w: float(np.sum(np.abs(w.numpy())))  # noqa: E731
    assert paths(tf_reg.regularize(network(), {"head": by_numpy})) == ["head/kernel"]


def test_unmatched_rules_can_be_let_pass():
    model = network()
    rules = {"hiden": L2, "norm": L2, "head": L2, "head/kernel": L1}
    assert paths(tf_reg.regularize(model, rules, unmatched="ignore")) == ["head/kernel"]


@pytest.mark.parametrize("argument", ["unmatched", "unsaved"])
def test_policies_are_words(argument):
    with pytest.raises(ValueError, match=f"{argument} must be 'error' or 'ignore'. Received: {argument}='warn'"):
        tf_reg.regularize(network(), L2, **{argument: "warn"})


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="'empty', in which dense, empty isn't built"):
        tf_reg.regularize(keras.Sequential([layers.Dense(2, name="dense")], name="empty"), L2)


class Gan(keras.Model):
    """Trained by parts and never called."""

    def __init__(self, *stack):
        super().__init__()
        self.gen = keras.Sequential([keras.Input((2,)), layers.Dense(3)], name="gen")
        self.disc = keras.Sequential([*stack, layers.Dense(1, name="judge")], name="disc")

    def train_step(self, data):
        return {"penalty": ops.convert_to_tensor(sum(self.disc.losses, 0.0))}


@pytest.mark.parametrize("fitted", [False, True])
def test_a_model_that_is_never_called_has_the_weights_of_its_parts(fitted):
    gan, x = Gan(keras.Input((3,))), np.ones((4, 3), "float32")
    gan.compile("sgd")
    if fitted:
        assert gan.fit(x, verbose=0).history["penalty"] == [0.0]
    assert paths(tf_reg.regularize(gan, {"disc": L2}, unsaved="ignore")) == ["disc/judge/kernel"]
    penalty = 0.5 * np.sum(np.square(gan.disc.layers[0].get_weights()[0]))
    assert gan.fit(x, verbose=0).history["penalty"] == pytest.approx([penalty], rel=1e-5)


def test_an_optimizer_that_a_model_keeps_as_an_attribute_takes_new_penalties():
    gan = Gan(keras.Input((3,)))
    gan.compile("sgd")
    gan.disc_optimizer = tf_reg.Proximal("sgd")
    gan.disc_optimizer.build(gan.disc.trainable_variables)
    table = tf_reg.regularize(gan, {"disc": L2}, unsaved="ignore")
    assert [weight.acts_in for weight in table.weights] == ["proximal step"]


def test_a_part_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="in which disc/judge isn't built"):
        tf_reg.regularize(Gan(), L2)
    gan = Gan(keras.Input((3,)))
    gan.norm = layers.BatchNormalization(name="norm")
    with pytest.raises(ValueError, match="in which norm isn't built"):
        tf_reg.regularize(gan, L2)


def data(model, examples=16):
    random = np.random.default_rng(0)
    shapes = [tuple(tensor.shape[1:]) for tensor in (*model.inputs, *model.outputs)]
    return [random.normal(size=(examples, *shape)).astype("float32") for shape in shapes]


def linear(optimizer, **compile_arguments):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="dense")])
    model.compile(optimizer, "mse", **compile_arguments)
    x, y = data(model)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    model.evaluate(x, y, verbose=0)
    return model, x, y


def one_step(model, x, y):
    model.fit(x, y, batch_size=len(x), epochs=1, verbose=0)


def weights_and_gradients(model, x, y):
    """Kernel and bias as float64, and the gradients of the mean squared error."""
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    error = x @ kernel + bias - y
    return kernel, bias, x.T @ error * (2 / y.size), error.sum(axis=0) * (2 / y.size)


@pytest.mark.contract
def test_the_next_step_has_the_penalty_and_the_moments():
    """Adam by hand, going on from the moments of three steps without penalty."""
    model, x, y = linear(keras.optimizers.Adam(0.1))
    optimizer = model.optimizer
    moments = {v.path: ops.convert_to_numpy(v).astype("float64") for v in optimizer.variables}
    m, v = (next(value for path, value in moments.items() if path.endswith(f"kernel_{name}"))
            for name in ("momentum", "velocity"))  # fmt: skip
    kernel, _, gradient, _ = weights_and_gradients(model, x, y)
    tf_reg.regularize(model, L2)
    one_step(model, x, y)
    gradient = gradient + 2 * 0.5 * kernel
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    rate = 0.1 * np.sqrt(1 - 0.999**4) / (1 - 0.9**4)
    assert np.abs(m).max() > 0.01
    np.testing.assert_allclose(model.get_weights()[0], kernel - rate * m / (np.sqrt(v) + 1e-7), atol=1e-6)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 4


@pytest.mark.contract
def test_reported_losses_have_the_penalty_from_then_on():
    model, x, y = linear("sgd", metrics=["mse"], jit_compile=False)
    tf_reg.regularize(model, L2)
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    penalty = 0.5 * np.sum(model.get_weights()[0] ** 2)
    assert result["loss"] == pytest.approx(result["mse"] + penalty, rel=1e-5)
    tf_reg.remove_regularizers(model)
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(result["mse"], rel=1e-6)
    assert not model.jit_compile


@pytest.mark.contract
def test_a_built_proximal_takes_the_new_penalty_over():
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.SGD(0.1)))
    model.layers[0].kernel.assign(model.layers[0].kernel * 0.1)
    assert [row.acts_in for row in tf_reg.regularize(model, L1).weights] == ["proximal step"]
    kernel, bias, kernel_gradient, bias_gradient = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    moved = kernel - 0.1 * kernel_gradient
    expected = np.sign(moved) * np.maximum(np.abs(moved) - 0.1 * 0.25, 0)
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], bias - 0.1 * bias_gradient, atol=1e-6)
    assert (expected == 0).any()

    tf_reg.regularize(model, L2)  # instead of L1
    kernel, _, kernel_gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], (kernel - 0.1 * kernel_gradient) / 1.1, atol=1e-6)

    model.compile("sgd", "mse")
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["loss"]
    kernel, _, kernel_gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.01 * (kernel_gradient + kernel), atol=1e-6)


def test_a_proximal_gives_what_was_removed_back():
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.SGD(0.1)))
    tf_reg.regularize(model, L1)
    one_step(model, x, y)
    tf_reg.remove_regularizers(model)
    kernel, _, gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.1 * gradient, atol=1e-6)


def test_a_proximal_built_by_hand_belongs_to_the_model_from_then_on():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(0.1))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse")
    tf_reg.regularize(model, L1)
    model.compile("sgd", "mse")
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["loss"]


def test_a_penalty_that_another_model_pays_is_not_taken_from_it():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="dense", kernel_regularizer="l1")])
    model = keras.Sequential([keras.Input((5,)), inner])
    model.compile(tf_reg.Proximal("sgd"), "mse")
    one_step(model, *data(model))
    with pytest.raises(ValueError, match="dense/kernel is in the proximal step of an optimizer of another model"):
        tf_reg.regularize(inner, L2)
    assert [row.acts_in for row in tf_reg.regularize(model, L2).weights] == ["proximal step"]


def test_in_mixed_precision_a_proximal_is_found_inside_the_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    model, _, _ = linear(tf_reg.Proximal("sgd"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert [row.acts_in for row in tf_reg.regularize(model, L1).weights] == ["proximal step"]


@pytest.mark.contract
def test_from_a_callback_in_the_middle_of_fit():
    model, x, y = linear(keras.optimizers.SGD(0.0))

    class Later(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                tf_reg.regularize(self.model, L2)

    losses = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[Later()]).history["loss"]
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.sum(model.get_weights()[0] ** 2), rel=1e-4)


def test_compiled_models_inside_of_the_model_are_made_anew_too():
    inner, x, y = linear(keras.optimizers.SGD(0.0), metrics=["mse"])
    outer = keras.Sequential([keras.Input((5,)), inner])
    tf_reg.regularize(outer, L2)
    result = inner.evaluate(x, y, verbose=0, return_dict=True)
    assert result["loss"] - result["mse"] == pytest.approx(0.5 * np.sum(inner.get_weights()[0] ** 2), rel=1e-4)


def test_frozen_weights_pay_nothing_and_the_table_says_so():
    model = network()
    model.get_layer("encoder").trainable = False
    table = tf_reg.regularize(model, L2)
    assert [row.acts_in for row in table.weights] == ["nothing (frozen)"] * 2 + ["loss"] * 2
    assert len(model.losses) == 2
    model.get_layer("encoder").trainable = True
    assert len(model.losses) == 4


def test_of_a_layer_with_lora_the_small_matrices_pay(tmp_path):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="dense")])
    model.layers[0].enable_lora(2)
    table = tf_reg.regularize(model, L2)
    assert [(row.path, row.acts_in) for row in table.weights] == [
        ("dense/kernel", "nothing (frozen)"),
        ("dense/lora_kernel_a", "loss"),
        ("dense/lora_kernel_b", "loss"),
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert str(tf_reg.regularizers_of(loaded)) == str(table)
    with pytest.raises(ValueError, match=r"'dense' \(Dense\) has one kernel_regularizer for several weights"):
        tf_reg.regularize(network_with_lora(), {"**/lora_kernel_a": L2})


def network_with_lora():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="dense")])
    model.layers[0].enable_lora(2)
    return model


def attention():
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="heads")(inputs, inputs))


def test_projections_of_an_attention_share_one_regularizer():
    with pytest.raises(
        ValueError,
        match=r"'heads' \(MultiHeadAttention\) has one kernel_regularizer .* heads/query/kernel\. Make a rule",
    ):
        tf_reg.regularize(attention(), {"heads/query": L2})
    alone = attention()
    table = tf_reg.regularize(alone, {"heads/query": L2}, unsaved="ignore")
    assert [(row.path, row.saved) for row in table.weights] == [("heads/query/kernel", False)]
    assert "no" in str(table).splitlines()[2]
    tf_reg.regularize(alone, {"heads": L2})
    assert all(row.saved for row in tf_reg.regularizers_of(alone).weights)
    assert len(keras.models.clone_model(alone).losses) == 4


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """A layer around a layer, as people write it: its config has nothing of what is inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3, name="inner")

    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)
        self.mixing = self.add_weight(shape=(3, 3), name="mixing")

    def call(self, inputs):
        return ops.matmul(self.inner(inputs), self.mixing)


@keras.saving.register_keras_serializable(package="tests")
class OpenBlock(Block):
    """One that keeps it."""

    def __init__(self, inner=None, mixing_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner or self.inner
        self.mixing_regularizer = regularizers.get(mixing_regularizer)

    def build(self, shape):
        super().build(shape)
        self.mixing.regularizer = self.mixing_regularizer

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        mixing = regularizers.serialize(self.mixing_regularizer)
        return super().get_config() | {"inner": inner, "mixing_regularizer": mixing}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"inner": keras.saving.deserialize_keras_object(config["inner"])})


def around(block):
    return keras.Sequential([keras.Input((4,)), block, layers.Dense(1, name="head")])


def test_custom_layers_that_would_lose_it_are_named():
    with pytest.raises(ValueError, match=r"block/inner/kernel \(Dense\), block/mixing \(Block\)\. Leave them out"):
        tf_reg.regularize(around(Block(name="block")), L2)
    left_out = around(Block(name="block"))
    assert paths(tf_reg.regularize(left_out, {"block": None, "*": L2})) == ["head/kernel"]
    ignored = around(Block(name="block"))
    table = tf_reg.regularize(ignored, L2, unsaved="ignore")
    assert {row.path: row.saved for row in table.weights} == {
        "block/inner/kernel": False,
        "block/mixing": False,
        "head/kernel": True,
    }
    assert len(ignored.losses) == 3
    assert len(keras.models.clone_model(ignored).losses) == 1
    tf_reg.regularize(ignored, {"block/inner": None})
    tf_reg.remove_regularizers(ignored)
    assert ignored.losses == []


@keras.saving.register_keras_serializable(package="tests")
class Reading(layers.Layer):
    """One whose config reads its regularizer."""

    def __init__(self, l2=0.01, **kwargs):
        super().__init__(**kwargs)
        self.kernel_regularizer = regularizers.L2(l2)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel", regularizer=self.kernel_regularizer)

    def call(self, inputs):
        return ops.matmul(inputs, self.kernel)

    def get_config(self):
        return super().get_config() | {"l2": float(self.kernel_regularizer.l2)}


def test_a_config_that_reads_a_regularizer_hides_no_other():
    model = keras.Sequential([keras.Input((4,)), Reading(name="own"), Block(name="block"), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"can't carry: block/inner/kernel \(Dense\), block/mixing \(Block\)\. Leave"):
        tf_reg.regularize(model, L2)
    with pytest.raises(ValueError, match=r"can't carry: own/kernel \(Reading\)\. Leave"):
        tf_reg.regularize(model, {"own": L1})
    table = tf_reg.regularize(model, L2, unsaved="ignore")
    assert [row.saved for row in table.weights] == [True, False, False, True]
    assert keras.models.clone_model(model).layers[0].kernel_regularizer.l2 == 0.5


def test_custom_layers_that_keep_it_are_as_good_as_keras_own():
    model = around(OpenBlock(name="block"))
    assert all(row.saved for row in tf_reg.regularize(model, L2).weights)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert total(clone.losses) == pytest.approx(total(model.losses), rel=1e-6)
    assert len(clone.losses) == 3


def test_a_regularizer_from_a_layers_own_code_comes_back_and_says_so():
    class Stubborn(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2), name="kernel", regularizer="l2")

        def call(self, inputs):
            return ops.matmul(inputs, self.kernel)

    model = keras.Sequential([keras.Input((4,)), Stubborn(name="own")])
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"were taken away\. .* own/kernel \(Stubborn\)\. Where a layer's own code"
        ):
            tf_reg.remove_regularizers(model)
        assert len(model.losses) == 1
        tf_reg.regularize(model, L1, unsaved="ignore")
    tf_reg.remove_regularizers(model, unsaved="ignore")
    assert model.losses == []


def test_a_model_that_cannot_be_saved_loses_nothing_without_a_word():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2, name="dense")

        def call(self, inputs):
            return self.dense(inputs)

        def get_config(self):
            raise TypeError("no config")

    model = Net()
    model(np.zeros((1, 3)))
    assert [(row.path, row.saved) for row in tf_reg.regularize(model, L2).weights] == [("dense/kernel", False)]
    assert model.dense.kernel_regularizer is L2


@pytest.mark.contract
def test_a_proximal_goes_on_after_a_save(tmp_path):
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.Adam(0.1)))
    tf_reg.regularize(model, L1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        one_step(each, x, y)
    np.testing.assert_allclose(loaded.get_weights()[0], model.get_weights()[0], atol=1e-6)
    assert [row.acts_in for row in tf_reg.regularizers_of(loaded).weights] == ["proximal step"]


@pytest.mark.contract
@pytest.mark.parametrize("builder", models.BUILDERS, ids=models.NAMES)
def test_models_of_all_kinds(builder):
    """Nested, shared, recurrent, convolutional, subclassed: old regularizers go, every kernel has the new one, once."""
    model = builder()
    model(models.inputs_of(model, 2))
    tf_reg.remove_regularizers(model, unsaved="ignore")
    assert model.losses == []
    tf_reg.regularize(model, L2, unsaved="ignore")
    kernels = {id(v): v for v in model.trainable_variables if "kernel" in v.name}.values()
    expected = sum(0.5 * float(np.sum(np.square(ops.convert_to_numpy(kernel)))) for kernel in kernels)
    assert len(model.losses) == len(kernels) > 0
    assert total(model.losses) == pytest.approx(expected, rel=1e-5)


def test_a_group_lasso_has_the_layout_of_each_layer():
    model = keras.Sequential(
        [
            keras.Input((3, 6, 6, 2)),
            layers.TimeDistributed(layers.DepthwiseConv2D(2, name="depthwise")),
            layers.ConvLSTM2D(3, 2, name="film"),
            layers.SeparableConv2D(2, 2, name="separable"),
            layers.Conv2DTranspose(2, 2, name="transposed"),
            layers.Reshape((-1, 2)),
            layers.Bidirectional(layers.GRU(2, name="gru")),
            layers.Dense(2, name="dense"),
        ]
    )
    table = tf_reg.regularize(model, tf_reg.GroupLasso(0.1))
    found = {tuple(row.path.split("/")[-2:]): row.regularizer.layout for row in table.weights}
    assert found == {
        ("depthwise", "kernel"): "depthwise",
        ("conv_lstm_cell", "kernel"): "lstm",
        ("conv_lstm_cell", "recurrent_kernel"): "lstm",
        ("separable", "depthwise_kernel"): "depthwise",
        ("separable", "pointwise_kernel"): "kernel",
        ("transposed", "kernel"): "transposed",
        ("gru_cell", "kernel"): "gru",
        ("gru_cell", "recurrent_kernel"): "gru",
        ("dense", "kernel"): "kernel",
    }
    said = tf_reg.SparseGroupLasso(0.1, 0.1, layout="gru")
    assert tf_reg.regularize(model, {layers.GRU: said}).weights[-2].regularizer is said


def test_a_group_lasso_needs_inputs_and_outputs():
    model = attention()
    with pytest.raises(ValueError, match=r"heads/query/kernel can't have this rule\. layout_of knows"):
        tf_reg.regularize(model, tf_reg.GroupLasso(0.1))
    axes = tf_reg.GroupLasso(0.1, groups=(1,))
    assert [row.regularizer for row in tf_reg.regularize(model, {"heads": axes}).weights] == [axes] * 4


def test_what_was_set_by_half_is_completed():
    """People set `layer.kernel_regularizer`, which does nothing, or `layer.kernel.regularizer`, which no file keeps."""
    model = network()
    model.get_layer("hidden").kernel_regularizer = L2
    model.get_layer("head").kernel.regularizer = L2
    assert [(row.path, row.saved) for row in tf_reg.regularizers_of(model).weights] == [("head/kernel", False)]
    assert all(row.saved for row in tf_reg.regularize(model, {layers.Dense: L2}).weights)
    assert len(model.losses) == len(keras.models.clone_model(model).losses) == 2


def test_the_table():
    model = network()
    model.get_layer("encoder").trainable = False
    table = tf_reg.regularize(model, {"conv1": regularizers.L1L2(1e-5, 1e-4), "hidden": square})
    expected = """
variable              shape         regularizer                acts in           saved
--------------------------------------------------------------------------------------
encoder/conv1/kernel  (3, 3, 2, 3)  L1L2(l1=1e-05, l2=0.0001)  nothing (frozen)  yes
hidden/kernel         (27, 4)       square                     loss              yes
--------------------------------------------------------------------------------------
2 of 10 variables, 162 weights"""
    assert str(table).splitlines() == expected.strip().splitlines()


def square(x):
    return ops.sum(ops.square(x))
