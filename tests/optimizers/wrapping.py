"""A pytest plugin for Keras' own tests: all optimizers that they make are in a `Proximal`, and a few tests fail."""

import types

import keras
import pytest

import tf_reg

CLASSES = [getattr(keras.optimizers, name) for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")]
FAIL = {  # for a reason that is meant to be; all others pass
    "test_get_method": "It asks for the class.",
    "test_optimizer_auto_naming": "It asks for the name.",
    "SGDTest::test_single_step": "It counts the variables.",
    "test_setting_lr_to_callable_untracks_lr_var": "It counts the variables.",
}


def wrapped(make):
    """Return a function that makes what `make` makes, in a `Proximal` if it is an optimizer."""

    def made(*args, **kwargs):
        optimizer = make(*args, **kwargs)
        if optimizer is None:
            return None
        if type(optimizer).__name__ not in {one.__name__ for one in CLASSES}:
            pytest.skip(f"Proximal doesn't take a {type(optimizer).__name__}")
        return tf_reg.Proximal(optimizer)

    return made


def stand_in(value):
    """Return what a test module sees instead of something that it imported."""
    if isinstance(value, type) and value in CLASSES:
        return wrapped(value)
    if isinstance(value, types.ModuleType) and value.__name__.endswith(".optimizers"):
        changed = {name: wrapped(one) for name, one in vars(value).items() if one in CLASSES or name == "get"}
        return types.SimpleNamespace(**(vars(value) | changed))
    return value


def pytest_collection_modifyitems(items):
    """Change what the modules have imported, and mark the tests of `FAIL`."""
    for module in {item.module for item in items}:
        vars(module).update({name: stand_in(value) for name, value in vars(module).items()})
    for name, reason in FAIL.items():
        found = [item for item in items if item.nodeid.endswith(f"::{name}")]
        if len(found) != 1:
            raise pytest.UsageError(f"{name} is the end of {len(found)} tests of Keras {keras.__version__}, not of one")
        found[0].add_marker(pytest.mark.xfail(reason=reason, strict=True))
