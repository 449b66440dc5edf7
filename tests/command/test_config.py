"""The configuration: every field is a flag and survives `config.json`, and every mistake is one sentence."""

import dataclasses
import json

import pytest

from tf_reg_cli.config import Config
from tf_reg_cli.config_file import configured
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import APPLICATIONS
from tf_reg_cli.main import parse


def parsed(*arguments):
    _, bound = parse(["train", *arguments])
    return configured(bound.kwargs.get("flags") or {}, bound.kwargs.get("config"))


def test_no_flags_is_the_default():
    assert parsed() == Config()


OTHERS = [  # every field is away from its default in one of them
    Config(
        dataset="fashion_mnist", data_dir="d", image_size=(32, 48), train_size=100, validation_split=0.2,
        hidden=(300, 100), normalization="imagenet", reg="l1l2", l1=0.1, l2=0.2, proximal=False, dropout=0.5,
        mc_samples=9, batch_norm=True, augment=True, flip=False, weight_decay=0.3, early_stopping=3,
        label_smoothing=0.1, epochs=2, batch_size=4, optimizer="sgd", learning_rate=0.5, momentum=0.9,
        schedule="cosine", decay_epochs=1, seed=7, precision="mixed_bfloat16", steps_per_execution=5, jit=True,
        name="n", runs_dir="r", saved_models_dir="s", quiet=True,
    ),
    Config(
        model="cnn", reg="sparse-group", l1=0.1, group_lasso=0.3, groups="inputs", target_sparsity=0.5,
        target_of="groups", refit_epochs=3, proximal=True, compact=True, baseline=True,
    ),
    Config(
        reg="l1", layer_factors=("hidden_1=0.5", "logits=2e-1"), strength_schedule="rise", weights="model.keras",
        reweight=True, dual_averaging=True,
    ),
    Config(reg="mcp", mcp=0.1, mcp_gamma=2.5),
    Config(reg="scad", scad=0.1, scad_a=3.7),
    Config(reg="log-sum", log_sum=0.1, log_sum_epsilon=0.2, groups="outputs"),
    Config(reg="lq", lq=0.1, lq_power="2/3"),
    Config(
        model="cnn", reg="channels", channel_lasso=0.1, size_weights="flops", target_sparsity=0.5,
        target_of="channels", exact_target=True, round_to=8,
    ),
    Config(
        augment=True, augment_strength=0.5, rand_augment=0.4, random_erasing=0.3, mixup=0.4, cutmix=0.5, max_norm=2.0,
        ema=0.9, calibrate=True, clipnorm=1.5, optimizer="adamw",
    ),
    Config(swa=3),
    Config(dataset="csv:a.csv", target="y", task="regression", categorical=("a", "b"), drop=("c d",)),
    Config(model="MobileNetV2", dataset="folder:photos", image_size=(32, 32), color_mode="grayscale",
        skip_damaged=True),
]  # fmt: skip


def changed(made):
    """The fields that aren't at their default, by name."""
    default = Config()
    return {
        field.name: getattr(made, field.name)
        for field in dataclasses.fields(Config)
        if getattr(made, field.name) != getattr(default, field.name)
    }


def test_every_field_is_seen_below():
    assert {name for made in OTHERS for name in changed(made)} == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize(
    "made",
    OTHERS,
    ids=["article", "target", "rise", "mcp", "scad", "log-sum", "lq", "exact", "mixed", "swa", "table", "application"],
)
def test_every_field_is_a_flag_and_survives_the_file(made, tmp_path):
    made.save(tmp_path / "config.json")
    assert parsed("--config", str(tmp_path / "config.json")) == made
    arguments = []
    for name, value in changed(made).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(flag if value else flag.replace("--", "--no-"))
        else:
            arguments += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    assert parsed(*arguments) == made


def test_flags_win_over_the_file(tmp_path):
    Config(reg="l1", epochs=3, batch_norm=True).save(tmp_path / "config.json")
    made = parsed("--config", str(tmp_path / "config.json"), "--epochs", "4", "--no-batch-norm")
    assert (made.reg, made.epochs, made.batch_norm) == ("l1", 4, False)


def test_early_stopping_alone_has_a_patience():
    assert parsed("--early-stopping").early_stopping == 5
    assert parsed("--early-stopping", "9").early_stopping == 9
    assert parsed().early_stopping is None


def test_one_image_size_is_a_square():
    assert parsed("--image-size", "32").image_size == (32, 32)


def test_groups_are_those_of_the_penalty():
    assert [Config(reg=reg).has_groups for reg in ("group", "sparse-group", "mcp", "l1", "channels")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert Config(reg="scad", groups="inputs").has_groups


def test_the_methods_that_are_on():
    assert Config(reg="l1", reweight=True).methods == ["l1", "reweight"]
    assert Config().methods == []
    assert parsed("--reg", "l2", "--dropout", "0.5", "--augment").methods == ["l2", "dropout", "augment"]


CHANNELS = ["--reg", "channels", "--target-sparsity", "0.5", "--target-of", "channels"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reg", "l3"], "--reg must be one of none, l2, l1, l1l2, group, sparse-group, channels, mcp, "),
        (["--epochs", "0"], "--epochs must be from 1 to 2147483647. Received: 0"),
        (["--epochs", "many"], "--epochs must be a whole number. Received: 'many'"),
        (["--epochs"], "--epochs needs a value: a whole number"),
        (["--steps-per-execution"], "--steps-per-execution needs a value: auto, or a whole number"),
        (["--dropout", "1"], "--dropout must be at least 0 and below 1. Received: 1."),
        (["--learning-rate", "0"], "--learning-rate must be above 0. Received: 0."),
        (["--learning-rate", "nan"], "--learning-rate must be above 0. Received: nan"),
        (["--l1", "-1"], "--l1 must be 0 or more. Received: -1."),
        (["--l2", "inf"], "--l2 must be 0 or more. Received: inf"),
        (["--validation-split", "1"], "--validation-split must be between 0 and 1. Received: 1."),
        (["--hidden", "128", "0"], r"--hidden must be from 1 to 2147483647 each. Received: 128 0"),
        (["--image-size", "1", "2", "3"], "--image-size takes one number or two, not 3"),
        (["--momentum", "0.9"], "--momentum does nothing without --optimizer sgd or rmsprop"),
        (["--l1", "0.5"], "--l1 does nothing without --reg l1, l1l2 or sparse-group"),
        (["--l1", "0.5", "--reg", "l2"], "--l1 does nothing without --reg l1, l1l2 or sparse-group"),
        (["--l2", "0.5", "--reg", "l1"], "--l2 does nothing without --reg l2 or l1l2"),
        (["--mc-samples", "9"], "--mc-samples does nothing without --dropout"),
        (["--no-flip"], "--flip does nothing without --augment"),
        (["--hidden", "9", "--model", "cnn"], "--hidden does nothing without --model mlp"),
        (
            ["--model", "MobilNet"],
            "--model must be linear, mlp, cnn or a name in keras.applications. Received: 'Mob",
        ),
        (["--batch-norm", "--model", "VGG16"], "--batch-norm does nothing without --model linear, mlp or cnn"),
        (["--normalization", "imagenet", "--model", "VGG16"], "--normalization does nothing without --model linear"),
        (["--groups", "inputs", "--reg", "l1"], "--groups does nothing without --reg group, sparse-group, mcp"),
        (["--group-lasso", "1"], "--group-lasso does nothing without --reg group or sparse-group"),
        (["--no-proximal"], "--proximal does nothing without --reg l2, l1"),
        (["--refit-epochs", "2"], "--refit-epochs moves a penalty that Proximal pays. Give it one: --reg l1"),
        (
            ["--refit-epochs", "2", "--reg", "l2", "--proximal"],
            "--reg l2 makes no zeros. --refit-epochs needs",
        ),
        (["--target-of", "weights"], "--target-of does nothing without --target-sparsity"),
        (["--target-sparsity", "90", "--reg", "l1"], "--target-sparsity must be between 0 and 1. Received: 90."),
        (["--target-sparsity", "0.9"], "--target-sparsity moves a penalty that Proximal pays. Give it one: --reg l1"),
        (["--target-sparsity", "0.9", "--reg", "l2", "--proximal"], "makes no zeros"),
        (["--strength-schedule", "rise", "--reg", "l2"], "--strength-schedule moves a penalty that Proximal pays"),
        (["--strength-schedule", "gap", "--reg", "l1", "--no-proximal"], "and no --no-proximal"),
        (["--reg", "l1", "--target-sparsity", "0.9", "--strength-schedule", "gap"], "both move the penalty's factor"),
        (["--reg", "l1", "--target-sparsity", "0.9", "--early-stopping"], "--early-stopping would bring back"),
        (["--reg", "l1", "--target-sparsity", "0.9", "--target-of", "groups"], "--target-of groups needs --reg group"),
        (
            ["--reg", "l1", "--target-sparsity", "0.9", "--refit-epochs", "20", "--epochs", "20"],
            "leave some of the 20 --epochs",
        ),
        (["--mcp-gamma", "3"], "--mcp-gamma does nothing without --reg mcp."),
        (["--mcp-gamma", "0", "--reg", "mcp"], "--mcp-gamma must be above 0. Received: 0."),
        (["--scad-a", "1", "--reg", "scad"], "--scad-a must be above 1. Received: 1."),
        (["--lq-power", "0.3", "--reg", "lq"], "--lq-power must be one of 0, 1/2, 2/3. Received: '0.3'"),
        (["--reg", "log_sum"], "Did you mean log-sum"),
        (
            ["--groups", "inputs", "--reg", "lq"],
            "--groups does nothing without --reg group, sparse-group, mcp, scad or",
        ),
        (["--size-weights", "flops", "--reg", "group"], "--size-weights does nothing without --reg channels."),
        (["--reg", "channels", "--model", "linear"], "--model linear has none: take mlp or cnn"),
        (["--reg", "lq", "--no-proximal"], "--reg lq has no gradient at zero that could be followed"),
        (["--reweight"], "--reweight needs a penalty that gives zeros and that Proximal pays: --reg l1, l1l2, group"),
        (["--reweight", "--reg", "l2", "--proximal"], "--reweight needs a penalty that gives zeros"),
        (["--reweight", "--reg", "l1", "--no-proximal"], "--reweight needs .*, and no --no-proximal"),
        (["--reweight", "--reg", "l1", "--epochs", "1"], "--reweight renews the factors from the second epoch on"),
        (["--dual-averaging", "--reg", "l2"], "--dual-averaging needs a penalty that gives zeros"),
        (["--dual-averaging", "--reg", "mcp"], "--dual-averaging needs a convex penalty: .* Received: --reg mcp"),
        (["--exact-target", "--reg", "l1"], "--exact-target does nothing without --target-sparsity"),
        (["--round-to", "8", "--reg", "channels"], "--round-to does nothing without --target-sparsity"),
        ([*CHANNELS, "--round-to", "8"], "--round-to does nothing without --exact-target"),
        ([*CHANNELS, "--exact-target", "--round-to", "0"], "--round-to must be from 1 to"),
        ([*CHANNELS, "--model", "linear"], "--model linear has none"),
        (["--reg", "l1", *CHANNELS[2:], "--model", "linear"], "counts units and filters. --model linear has none"),
        (["--reg", "group", *CHANNELS[2:]], "can't make units zero by groups of outputs, which leave their biases"),
        (["--reg", "mcp", *CHANNELS[2:], "--groups", "outputs"], "Take --reg channels or --groups inputs"),
        ([*CHANNELS[:4], "--target-of", "groups"], "For --reg channels, count channels"),
        (["--reg", "mcp", "--target-sparsity", "0.5", "--target-of", "groups"], "mcp, scad or log-sum with --groups"),
        ([*CHANNELS[:4], "--target-of", "flops", "--exact-target"], "takes --target-of weights, groups or channels"),
        ([*CHANNELS[:4], "--exact-target", "--round-to", "8"], "--round-to takes --target-of groups or channels"),
        (["--decay-epochs", "2"], "--decay-epochs does nothing without --schedule cosine"),
        (
            ["--decay-epochs", "21", "--schedule", "cosine", "--epochs", "20"],
            "--decay-epochs 21 is more than all 20 --epochs",
        ),
        (["--name", "a/b"], "--name must be 1 to 100 letters, digits"),
        (["--name", ".."], "--name must be 1 to 100 letters, digits"),
        (["--name", "$x^$"], "--name must be 1 to 100 letters, digits"),
        (["--name", "a" * 300], "--name must be 1 to 100 letters, digits"),
        (["--seed", "4294967296"], "--seed must be from 0 to 2147483647. Received: 4294967296"),
        (["--batch-size", "10000000000000000000"], "--batch-size must be from 1 to 2147483647"),
        (["--learning-rat", "1"], "There is no flag --learning-rat. Did you mean --learning-rate"),
        (["--steps-per-execution", "0"], "--steps-per-execution must be auto, or a whole number from 1 to 2147483647."),
        (["--steps-per-execution", "3.5"], "must be auto, or a whole number from 1 to 2147483647. Received: 3.5."),
        (["--steps-per-execution", "Auto"], "Received: Auto. Did you mean auto"),
        (["--epochs", "3.5"], "--epochs must be a whole number. Received: '3.5'"),
        (["--epochs", "3", "--epochs", "4"], "--epochs is given twice"),
        (["--early-stopping", "x"], "--early-stopping must be a whole number. Received: 'x'"),
        (["--early-stopping", "3", "4"], "There is no flag 4. --help lists the flags"),
        (["--early-stopping", "0"], "--early-stopping must be from 1 to 2147483647. Received: 0"),
        (["--quiet=x"], "--quiet must be true or false. Received: 'x'"),
        (["extra"], "There is no flag extra. --help lists the flags"),
        (["--config", "nowhere.json"], "--config nowhere.json can't be read as JSON: .*No such file"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parsed(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "must hold a JSON object"),
        ('{"epoch": 3}', "has unknown names: epoch. Did you mean epochs"),
        ('{"epochs": "3"}', "--epochs must be a whole number. Received: '3'"),
        ('{"quiet": 1}', "--quiet must be true or false. Received: 1"),
        ('{"hidden": []}', r"--hidden must be from 1 to 2147483647 each. Received: \[\]"),
        ('{"hidden": 5}', "--hidden must be several values. Received: 5"),
        ('{"l1": 1' + 400 * "0" + "}", "--l1 must be (a number|0 or more)"),
        ('{"name": "a\\u0000b"}', "--name must be 1 to 100 letters, digits"),
        ('{"dataset": null}', "--dataset must be text. Received: None"),
        ('{"steps_per_execution": true}', "--steps-per-execution must be auto, or a whole number from 1 .*: True"),
        ('{"steps_per_execution": 1.0}', "--steps-per-execution must be auto, or a whole number from 1 .*: 1.0"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        parsed("--config", str(tmp_path / "config.json"))


def test_whole_numbers_do_for_floats():
    assert Config(dropout=0, learning_rate=1).learning_rate == 1.0


def test_networks_are_those_of_keras():
    from tf_reg.recipes import applications

    assert list(APPLICATIONS) == applications.names()


def test_the_file_is_plain_json(tmp_path):
    Config().save(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text())["hidden"] == [128]
