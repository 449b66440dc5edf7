"""Mixed images, averaged weights, limited norms and clipped gradients: each flag does what it says."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.recipes.conftest import columns_of, metrics_of
from tf_reg.recipes import training
from tf_reg.recipes.data import image_data
from tf_reg.recipes.data.mixing import mixed
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return image_data.load("digits", batch_size=64, train_size=256)


def batches(digits, **settings):
    return [(np.array(x), np.array(y)) for x, y in mixed(digits.train_eval, Config(**settings))]


def test_without_a_flag_the_batches_are_the_same_object(digits):
    assert mixed(digits.train_eval, Config()) is digits.train_eval


@pytest.mark.parametrize("flag", ["mixup", "cutmix"])
def test_images_and_labels_are_mixed_in_the_same_shares(digits, flag):
    plain, changed = batches(digits, mixup=None), batches(digits, **{flag: 1.0})
    assert len(changed) == len(plain) == 4
    fractions = 0
    for (x, y), (new_x, new_y) in zip(plain, changed, strict=True):
        assert (new_x.shape, new_y.shape) == (x.shape, y.shape)
        np.testing.assert_allclose(new_y.sum(axis=1), 1, atol=1e-5)
        own = np.sum(new_y * y, axis=1)  # at least the share of the own image
        fractions += np.sum((own > 0.01) & (own < 0.99))
        assert new_x.min() >= 0
        assert new_x.max() <= 255.01
        pair = (new_y > 0.01).sum(axis=1) == 2  # of two classes
        if flag == "mixup":  # a mean of two images, with the shares of their labels
            for image, mixture, label, share in zip(x[pair], new_x[pair], new_y[pair], own[pair], strict=True):
                other = (mixture - share * image) / (1 - share)
                nearest = np.abs(x - other).reshape(len(x), -1).max(axis=1)
                assert nearest.min() < 0.5
                assert y[nearest.argmin()] @ label == pytest.approx(1 - share, abs=1e-3)
        else:  # what is not pasted is as it was
            pixels = np.all(new_x == x, axis=-1).mean(axis=(1, 2))
            assert np.all(pixels[pair] >= own[pair] - 0.1)  # the piece has whole pixels
    assert fractions > 20


def test_with_both_they_take_turns(digits):
    both = batches(digits, mixup=1.0, cutmix=1.0)
    plain = batches(digits, mixup=None)
    kept = [np.mean(np.all(new == old, axis=-1)) for (new, _), (old, _) in zip(both, plain, strict=True)]
    pasted = np.mean(kept[1::2])  # a piece: the other pixels are as they were
    blended = np.mean(kept[::2])
    assert pasted > blended + 0.1


@pytest.mark.parametrize("flag", ["rand_augment", "random_erasing"])
def test_images_change_and_labels_stay(digits, flag):
    plain, changed = batches(digits, mixup=None), batches(digits, **{flag: 0.9})
    for (x, y), (new_x, new_y) in zip(plain, changed, strict=True):
        np.testing.assert_array_equal(y, new_y)
        assert np.mean(np.any(new_x != x, axis=(1, 2, 3))) > 0.75


@pytest.mark.parametrize("settings", [{"mixup": 0.2, "cutmix": 1.0}, {"random_erasing": 0.5}])
def test_the_seed_decides(digits, settings):
    first, again = (batches(digits, seed=1, **settings) for _ in range(2))
    other = batches(digits, seed=2, **settings)
    assert all(
        np.array_equal(a, b) for one, two in zip(first, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    assert any(not np.array_equal(one[0], two[0]) for one, two in zip(first, other, strict=True))


def test_the_norm_into_each_unit_is_limited():
    for network in ("mlp", "cnn"):
        model, _ = training.prepare(Config(model=network, max_norm=0.5, learning_rate=0.1))
        for variable in model.trainable_variables:
            variable.assign(np.ones(variable.shape))
        model.optimizer.apply([0.0 * one.value for one in model.trainable_variables], model.trainable_variables)
        kernels = [np.array(one) for one in model.trainable_variables if one.name == "kernel"]
        for kernel in kernels:
            axes = tuple(range(kernel.ndim - 1))
            np.testing.assert_allclose(np.sqrt(np.sum(kernel**2, axis=axes)), 0.5, rtol=1e-4)
        again = keras.models.clone_model(model)
        assert again.get_layer("logits").kernel.constraint.max_value == 0.5


def test_the_optimizer_has_what_the_flags_say():
    optimizer = training.prepare(Config(optimizer="adamw", clipnorm=0.3, ema=0.9))[0].optimizer
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert (optimizer.weight_decay, optimizer.clipnorm) == (0.004, 0.3)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)
    assert training.prepare(Config(optimizer="adamw", weight_decay=0.1))[0].optimizer.weight_decay == 0.1


def test_the_strength_of_augmentation_scales_all_changes():
    model, _ = training.prepare(Config(augment=True, augment_strength=0.5))
    changes = [layer.get_config() for layer in model.layers if layer.__class__.__name__.startswith("Random")]
    factors = [np.max(one.get("height_factor", one.get("factor"))) for one in changes]
    assert factors == [0.05, 0.015, 0.05]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ema": 0.9, "swa": 2}, "--ema and --swa both"),
        ({"ema": 0.9, "early_stopping": 3}, "--early-stopping would bring back the weights of one epoch"),
        ({"swa": 2, "early_stopping": 3}, "--early-stopping would bring back the weights of one epoch"),
        ({"swa": 5, "epochs": 4}, "--swa 5 is more than all 4 --epochs"),
        ({"ema": 1.0}, "--ema"),
        ({"mixup": 0.0}, "--mixup"),
        ({"clipnorm": -1.0}, "--clipnorm"),
    ],
)
def test_mistakes(settings, words):
    with pytest.raises(UserError, match=words):
        Config(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("average", [("--ema", 0.9), ("--swa", 3)])
def test_an_average_keeps_zeros_and_renews_batch_normalisation(train, average):
    flags = ("--epochs", 8, "--reg", "l1", "--l1", 1e-3, "--batch-norm", "--no-baseline", "--name", "a", "--quiet")
    code, _, err = train(*flags, *average)
    assert (code, err) == (0, "")
    model = keras.models.load_model("runs/a/model.keras")
    metrics = metrics_of("runs/a")
    assert metrics["sparsity"] == pytest.approx(columns_of("runs/a")["sparsity"][-1], abs=1e-6)
    assert metrics["sparsity"] > 0.05
    assert metrics["test_accuracy"] > 0.9
    data = training.load_data(Config(**json.loads(Path("runs/a/config.json").read_text())))
    hidden = keras.Model(model.input, model.get_layer("hidden_1").output)
    parts = [hidden.predict_on_batch(x) for x, _ in data.train_eval]
    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    mean = np.mean([part.mean(axis=0) for part in parts], axis=0)
    np.testing.assert_allclose(np.array(norm.moving_mean), mean, atol=2e-3 * np.abs(mean).max())


@pytest.mark.slow
def test_a_temperature_goes_into_the_saved_model(train):
    code, out, err = train("--epochs", 20, "--calibrate", "--compact", "--name", "a", "--quiet")
    assert (code, err) == (0, "")
    metrics = metrics_of("runs/a")
    assert metrics["test_nll_temperature"] < metrics["test_nll_one_pass"]
    assert metrics["test_accuracy_temperature"] == pytest.approx(metrics["test_accuracy"], rel=1e-6)
    assert Path("runs/a/calibration.png").stat().st_size > 1000
    compact = keras.models.load_model("runs/a/compact.keras")
    assert compact.layers[-1].temperature == pytest.approx(metrics["temperature"], rel=1e-6)
    assert metrics["compact_test_data_loss"] == pytest.approx(metrics["test_nll_temperature"], rel=1e-3)
    served = keras.layers.TFSMLayer("saved_models/a/1", call_endpoint="serving_default")
    images = next(iter(training.load_data(Config()).test))[0]
    (answer,) = served(np.array(images, "float32")).values()
    np.testing.assert_allclose(np.array(answer), compact.predict_on_batch(images), atol=1e-6)
    assert "calibration error, temperature" in out
