"""A network that is dead is said at the end of a training, once, and no other is."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.callbacks.strength_models import L1, mlp
from tests.callbacks.strength_models import fit as fit_data
from tf_reg.callbacks.output_watcher import constant_output_words
from tf_reg.measure.constant_outputs import constant_outputs

pytestmark = pytest.mark.contract
PENALTY = L1(1e-3)


def dense(units, name, activation=None):
    return layers.Dense(units, activation, kernel_regularizer=PENALTY, name=name)


def chain(*sizes, last=None):
    """Dense layers, and a last one of 3 with an activation."""
    hidden = [dense(size, f"hidden_{number}", "relu") for number, size in enumerate(sizes)]
    return keras.Sequential([keras.Input((4,)), *hidden, dense(3, "last", last)])


def with_zeros(model, *names):
    for name in names:
        kernel = model.get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))
    return model


def is_constant(model):
    rng = np.random.default_rng(0)
    shape = (16, *model.input_shape[1:])
    outputs = ops.convert_to_numpy(model(10 * rng.normal(size=shape).astype("float32")))
    return bool(np.ptp(outputs, axis=0).max() == 0)


@pytest.mark.parametrize("last", [None, "softmax", "sigmoid"])
@pytest.mark.parametrize("names", [(), ("hidden_0",), ("hidden_1",), ("last",), ("hidden_0", "last")])
def test_a_layer_of_zeros_in_a_chain_is_a_dead_network(last, names):
    model = with_zeros(chain(6, 5, last=last), *names)
    said = constant_output_words(model)
    assert bool(said) is bool(names) is is_constant(model)
    assert not names or f"doesn't depend on the input any more: all weights of {', '.join(names)} are zero" in said


def test_units_that_are_dead_on_one_side_or_the_other_cut_every_path():
    model = chain(6)
    first, last = (model.get_layer(name).kernel for name in ("hidden_0", "last"))
    first.assign(first.numpy() * (np.arange(6) < 3))
    last.assign(last.numpy() * (np.arange(6) >= 3)[:, None])
    assert "zeros cut every path between them" in constant_output_words(model)
    last.assign(last.numpy() + 1e-3)
    assert constant_output_words(model) == ""
    assert not is_constant(model)


def branches(join):
    inputs = keras.Input((4,))
    zero = dense(4, "zero", "relu")(inputs)
    return with_zeros(keras.Model(inputs, layers.Dense(2, "softmax", name="last")(join(inputs, zero))), "zero")


@pytest.mark.parametrize("join", [lambda x, y: x + y, lambda x, y: layers.Concatenate()([x, y])])
def test_a_zero_layer_beside_another_path_is_no_dead_network(join):
    model = branches(join)
    assert constant_output_words(model) == ""
    assert not is_constant(model)


def test_a_zero_layer_that_is_multiplied_with_is_a_dead_network():
    model = branches(lambda x, y: layers.Multiply()([x, y]))
    assert constant_output_words(model) != ""
    assert is_constant(model)


def test_one_of_two_outputs_is_named():
    inputs = keras.Input((4,))
    outputs = [dense(2, "good")(inputs), dense(2, "bad", "softmax")(inputs)]
    said = constant_output_words(with_zeros(keras.Model(inputs, outputs), "bad"))
    assert said.startswith("The output of bad doesn't depend on the input any more: all weights of bad are zero.")


def test_a_convolution_of_zeros_through_pooling_and_a_softmax_layer():
    parts = [layers.Conv2D(3, 3, activation="relu", kernel_regularizer=PENALTY, name="zero"), layers.MaxPooling2D()]
    last = [layers.Flatten(), layers.Dense(3), layers.Softmax()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts, layers.BatchNormalization(), *last])
    assert constant_output_words(model) == ""
    assert constant_output_words(with_zeros(model, "zero")) != ""


@pytest.mark.filterwarnings("ignore:Layer 'lstm'")  # the next Keras says that the mask ends here
def test_a_mask_makes_a_difference_that_constants_do_not_hide():
    inputs = keras.Input((5,), dtype="int32")
    vectors = layers.Embedding(9, 4, mask_zero=True)(inputs)
    zero = layers.Dense(4, use_bias=False, kernel_regularizer=PENALTY, bias_initializer="ones", name="zero")(vectors)
    model = keras.Model(inputs, layers.LSTM(3, bias_initializer="ones")(zero))
    assert constant_outputs(with_zeros(model, "zero")) == []


def test_a_softmax_of_constants_under_a_mask_depends_on_the_mask():
    inputs, mask = keras.Input((4,)), keras.Input((3,), dtype="bool")
    scores = dense(3, "zero")(inputs)
    masked = keras.Model([inputs, mask], layers.Softmax()(scores, mask=mask))
    assert constant_outputs(with_zeros(masked, "zero")) == []
    whole = keras.Model([inputs, mask], layers.Softmax(name="whole")(scores))
    assert constant_outputs(with_zeros(whole, "zero")) == ["whole"]


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.zero = layers.Dense(3, kernel_initializer="zeros", kernel_regularizer=PENALTY)

    def call(self, x):
        return x[:, :3] + self.zero(x)


def test_a_model_with_a_call_of_its_own_says_nothing():
    model = Subclass()
    model(np.ones((2, 4)))
    assert constant_output_words(model) == ""


def dead():
    """A model that becomes dead in the first steps."""
    return mlp(L1(1e4), L1(1e4))


@pytest.mark.parametrize(
    "watchers",
    [
        lambda: [tf_reg.RegularizationLogger()],
        lambda: [tf_reg.Refit(1), tf_reg.RegularizationLogger()],
        lambda: [tf_reg.RegularizationLogger(), tf_reg.StrengthSchedule(lambda epoch: 1.0)],
    ],
)
def test_a_training_that_ends_dead_warns_once(watchers):
    with pytest.warns(UserWarning, match="all weights of dense.*, dense.* are zero") as caught:
        fit_data(dead(), *watchers(), epochs=3)
    assert len([one for one in caught if "depend on the input" in str(one.message)]) == 1


def test_callbacks_that_put_other_weights_in_place_are_left_alone():
    stopping = keras.callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit_data(dead(), tf_reg.RegularizationLogger(), stopping, epochs=2)
    with pytest.warns(UserWarning, match="doesn't depend"):
        fit_data(dead(), tf_reg.RegularizationLogger(), keras.callbacks.EarlyStopping("loss"), epochs=2)
