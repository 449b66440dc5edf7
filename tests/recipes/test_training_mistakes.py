"""Each mistake in what is to be trained ends in one sentence and exit code 2."""

import time
from pathlib import Path

import keras
import numpy as np
import pytest


def touch(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"no picture")


MISTAKES = [
    (["--name", "taken"], "A run or model named taken exists"),
    (["--runs-dir", "file"], "--runs-dir file can't be made or written: File exists"),
    (["--saved-models-dir", "file/x"], "--saved-models-dir file/x can't be made or written: Not a directory"),
    (["--dataset", "fashion_mnits"], "Did you mean fashion_mnist?"),
    (["--dataset", "folder:nowhere", "--image-size", "8"], "'nowhere' does not exist"),
    (["--dataset", "folder:empty", "--image-size", "8"], "empty must hold at least two sub-folders"),
    (["--dataset", "folder:empty"], "it has no sub-folder and no images"),
    (["--dataset", "folder:broken", "--image-size", "8"], "can't be read as an image"),
    (["--dataset", "folder:broken"], "image-size"),
    (["--train-size", "100000"], "and 1293 (what is left for training); got 100000"),
    (["--train-size", "2"], "between 10 (the classes of digits)"),
    (["--validation-split", "0.0001"], "another --validation-split"),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES, ids=[" ".join(flags) for flags, _ in MISTAKES])
def test_mistakes_are_one_sentence_and_exit_code_2(train, flags, message):
    touch("file")
    Path("runs/taken").mkdir(parents=True)
    Path("empty").mkdir()
    for name in ("cats", "dogs"):
        for number in range(10):
            touch(f"broken/{name}/{number}.png")
    code, out, err = train(*flags)
    assert code == 2
    assert err.startswith("tf-reg train: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert [path.name for path in Path("runs").iterdir()] == ["taken"]


def test_no_network_is_one_sentence_soon(train, monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    start = time.monotonic()
    code, _, err = train("--dataset", "cifar10", "--data-dir", tmp_path / "sets")
    assert code == 2
    assert time.monotonic() - start < 30
    assert "cifar10" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "sets").exists()


DIVERGING = {  # flags, and what is the first that isn't finite
    "at once": (["--learning-rate", 1e30], "epoch 1, batch 2: the loss is nan. The output of logits is the first"),
    "by the penalty": (["--reg", "l1", "--l1", 1e38], "batch 1: the loss is inf. The penalty is the first"),
    "later": (["--learning-rate", 30, "--reg", "l2", "--l2", 0.1], "epoch 4, batch 2: the loss is inf. The "),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DIVERGING)
def test_a_run_that_diverges_stops_at_once_and_keeps_the_last_good_weights(train, case):
    flags, words = DIVERGING[case]
    code, _, err = train("--optimizer", "sgd", "--epochs", 6, "--train-size", 400, "--name", "a", *flags)
    assert code == 1
    said = err.splitlines()[-1]
    assert "Traceback" not in err
    assert words in said
    assert "Lower --learning-rate" in said
    assert not any(Path("saved_models").iterdir())
    assert not Path("runs/a/checkpoints").exists()
    rows = Path("runs/a/history.csv").read_text().splitlines()
    if case == "later":
        assert len(rows) == 4  # the names, and three epochs
        assert "runs/a has the model as it was after epoch 3" in said
        kept = keras.saving.load_model("runs/a/model.keras")
        assert all(np.isfinite(array).all() for array in kept.get_weights())
    else:
        assert rows == []
        assert "No model was kept" in said
        assert not Path("runs/a/model.keras").exists()


def test_a_penalty_that_hides_the_data_is_said(train):
    code, _, err = train("--reg", "l2", "--l2", 1e5, "--epochs", 1, "--train-size", 400, "--learning-rate", 0.001)
    assert code == 0
    assert "Note: In epoch 1 the penalty is " in err
    assert "Lower the strength of the penalty." in err
