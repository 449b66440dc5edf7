"""What the table says of custom layers is what a loaded model shows, however a layer keeps its regularizer."""

import random

import keras
import pytest
from keras import layers, ops, regularizers

import tf_reg
from tests.tools import slow_on_tensorflow

pytestmark = pytest.mark.contract
OLD, NEW = regularizers.L1(0.25), regularizers.L2(0.5)
register = keras.saving.register_keras_serializable(package="tests")


class Mixing(layers.Layer):
    """A kernel of its own; its subclasses say where the regularizer comes from."""

    def build(self, shape):
        self.mixing = self.add_weight(shape=(shape[-1], 3), name="mixing", regularizer=self.of_mixing())

    def call(self, inputs):
        return ops.matmul(inputs, self.mixing)


@register
class OwnName(Mixing):
    def __init__(self, w_reg=None, **kwargs):
        super().__init__(**kwargs)
        self.w_reg = regularizers.get(w_reg)

    def of_mixing(self):
        return self.w_reg

    def get_config(self):
        return super().get_config() | {"w_reg": regularizers.serialize(self.w_reg)}


@register
class Private(Mixing):
    def __init__(self, penalty=None, **kwargs):
        super().__init__(**kwargs)
        self._of_weights = regularizers.get(penalty)

    def of_mixing(self):
        return self._of_weights

    def get_config(self):
        return super().get_config() | {"penalty": regularizers.serialize(self._of_weights)}


@register
class InADict(Mixing):
    def __init__(self, penalties, **kwargs):
        super().__init__(**kwargs)
        self.penalties = {name: regularizers.get(one) for name, one in penalties.items()}

    def of_mixing(self):
        return self.penalties["mixing"]

    def get_config(self):
        penalties = {name: regularizers.serialize(one) for name, one in self.penalties.items()}
        return super().get_config() | {"penalties": penalties}


@register
class HardCoded(Mixing):
    def of_mixing(self):
        return OLD


@register
class NoGetConfig(Mixing):
    """Keras keeps what the constructor was given, where that is plain Python."""

    def __init__(self, mixing_regularizer="l1", **kwargs):
        super().__init__(**kwargs)
        self.mixing_regularizer = regularizers.get(mixing_regularizer)

    def of_mixing(self):
        return self.mixing_regularizer


@register
class Forgetful(OwnName):
    """Its config has the regularizer, and its from_config drops it."""

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "w_reg": None})


@register
class Silent(OwnName):
    """Its config doesn't have it."""

    def get_config(self):
        return layers.Layer.get_config(self)


@register
class HandedOn(layers.Layer):
    """It hands one regularizer on to two layers."""

    def __init__(self, kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel_regularizer = kernel_regularizer  # as it was given: a name, perhaps
        self.first = layers.Dense(4, kernel_regularizer=kernel_regularizer, name="first")
        self.second = layers.Dense(3, kernel_regularizer=kernel_regularizer, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 4))

    def call(self, inputs):
        return self.second(self.first(inputs))

    def get_config(self):
        return super().get_config() | {"kernel_regularizer": regularizers.serialize(self.first.kernel_regularizer)}


@register
class BuiltInCall(HandedOn):
    """The layers inside are built when it is called."""

    def build(self, shape):
        self.built = True

    def get_config(self):
        return layers.Layer.get_config(self) | {"kernel_regularizer": regularizers.serialize(self.kernel_regularizer)}


@register
class Outer(layers.Layer):
    """A custom layer that makes a custom layer, and one without a name."""

    def __init__(self, inner_penalty=None, **kwargs):
        super().__init__(**kwargs)
        self.inner_penalty = regularizers.get(inner_penalty)
        self.block = HandedOn(self.inner_penalty, name="block")
        self.drop = layers.Dropout(0.5)

    def build(self, shape):
        self.block.build(shape)

    def call(self, inputs):
        return self.block(inputs)

    def get_config(self):
        return super().get_config() | {"inner_penalty": regularizers.serialize(self.inner_penalty)}


# How to make a layer, and whether a new penalty can be set so that it is saved.
KINDS = {
    "own name": (lambda: OwnName(OLD), True),
    "own name, none yet": (OwnName, True),
    "private": (lambda: Private(OLD), True),
    "in a dict": (lambda: InADict({"mixing": OLD}), False),
    "hard-coded": (HardCoded, False),
    "no get_config": (lambda: NoGetConfig("l1"), False),
    "config, but no from_config": (lambda: Forgetful(OLD), False),
    "no config": (lambda: Silent(OLD), False),
    "built in call": (lambda: BuiltInCall(OLD), True),
    "a layer in a layer": (lambda: Outer(OLD), True),
}


def model_of(layer):
    return keras.Sequential([keras.Input((5,)), layer, layers.Dense(2, name="head")])


def of_variables(model):
    return [v.regularizer and regularizers.serialize(v.regularizer) for v in model.trainable_variables]


def saved_column(model):
    rows = {row.path: row.saved for row in tf_reg.regularizers_of(model).weights}
    return [rows[path] for path in sorted(rows)]


PLAIN = ("own name", "hard-coded", "a layer in a layer")
every_kind = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in PLAIN else slow_on_tensorflow) for name in KINDS]
)


@every_kind
def test_the_column_is_the_truth(name, tmp_path):
    model = model_of(KINDS[name][0]())
    model.save(tmp_path / "a.keras")
    there = of_variables(keras.models.load_model(tmp_path / "a.keras"))
    kept = [one == two for one, two in zip(of_variables(model), there, strict=True) if one is not None]
    assert saved_column(model) == kept


@every_kind
def test_a_new_penalty_is_saved_or_refused(name, tmp_path):
    make, is_kept = KINDS[name]
    model = model_of(make())
    before = of_variables(model)
    if not is_kept:
        with pytest.raises(ValueError, match=r"A saved model must have .*mixing \(\w+: .*\)\. Leave them out"):
            tf_reg.regularize(model, NEW)
        assert of_variables(model) == before
        return
    assert all(row.saved for row in tf_reg.regularize(model, NEW).weights)
    model.save(tmp_path / "a.keras")
    there = of_variables(keras.models.load_model(tmp_path / "a.keras"))
    assert there == of_variables(model)
    assert there.count(regularizers.serialize(NEW)) == len(tf_reg.regularizers_of(model).weights) > 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("in a dict", "no attribute of a layer holds one for it"),
        ("no get_config", "no config has the mixing_regularizer of 'own'"),
        ("config, but no from_config", "no attribute of a layer holds one for it"),
    ],
)
def test_the_reason(name, reason):
    layer = KINDS[name][0]()
    layer.name = "own"
    with pytest.raises(ValueError, match=reason):
        tf_reg.regularize(model_of(layer), {"own": NEW})


def test_one_attribute_for_several_layers_takes_one_rule():
    model = model_of(BuiltInCall(OLD, name="block"))
    with pytest.raises(ValueError, match=r"'block' \(BuiltInCall\) has one kernel_regularizer for several weights"):
        tf_reg.regularize(model, {"block/first": NEW})
    tf_reg.regularize(model, {"block": NEW})
    assert [block.kernel_regularizer for block in (model.layers[0], model.layers[0].first)] == [NEW, NEW]


@slow_on_tensorflow
def test_a_subclassed_model_and_a_cell():
    @register
    class Net(keras.Model):
        def __init__(self, w_reg=None, **kwargs):
            super().__init__(**kwargs)
            self.w_reg = regularizers.get(w_reg)
            self.mix = OwnName(self.w_reg)

        def call(self, inputs):
            return self.mix(inputs)

        def get_config(self):
            return {"w_reg": regularizers.serialize(self.w_reg)}

    model = Net(OLD)
    model(ops.ones((2, 5)))
    assert saved_column(model) == [True]
    assert saved_column_after(model) == [True]
    assert model.w_reg is NEW

    class Cell(OwnName):
        state_size = output_size = 3

        def call(self, inputs, states):
            return ops.matmul(inputs, self.mixing) + states[0], states

    recurrent = keras.Sequential([keras.Input((4, 5)), layers.RNN(Cell(OLD))])
    assert saved_column(recurrent) == saved_column_after(recurrent) == [True]


def saved_column_after(model):
    tf_reg.regularize(model, NEW)
    return saved_column(model)


def test_looking_leaves_no_trace():
    """The layers that are made to see what a config gives take no names and no random numbers."""
    model = model_of(Outer(OLD))
    state = random.getstate()
    tf_reg.regularizers_of(model)
    assert random.getstate() == state
    assert layers.Dropout(0.5).name == "dropout_1"  # the model's is "dropout"
    assert of_variables(model)[0] == regularizers.serialize(OLD)
