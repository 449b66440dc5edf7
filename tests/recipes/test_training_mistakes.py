"""Each mistake in what is to be trained ends in one sentence and exit code 2."""

import time
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--reg", "l1l2"), ("--reg", "l1", "--l1", 1e38)])
def test_a_run_that_diverges_says_so_and_keeps_its_files(train, flags):
    diverging = ("--optimizer", "sgd", "--learning-rate", 1e30, "--epochs", 3, "--name", "a")
    code, _, err = train(*diverging, *flags)
    assert code == 1
    assert err.count("\n") == 1
    assert "Lower --learning-rate" in err
    assert Path("runs/a/history.csv").exists()
    assert list(Path("saved_models").iterdir()) == []
