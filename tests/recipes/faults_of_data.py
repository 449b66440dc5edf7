"""Faults of memory, data and settings."""

import json
import shutil
from pathlib import Path

import tensorflow as tf

from tests.recipes.fault_bench import PICTURES, SMALL, TABLE, fails, fault, pictures, table
from tf_reg.recipes.data import image_data


@fault("Memory", "there is no memory for a batch")
def _(bench):
    """Exit code 2; `--resume` goes on from the last checkpoint."""
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")
    with bench.during(fails(error)):
        said = bench.train(*SMALL, code=2)
    assert "More memory is needed than there is (OOM when allocating a tensor). Lower --batch-size." in said
    bench.goes_on()


@fault("Memory", "Python has no memory left")
def _(bench):
    """Exit code 2; `--resume` goes on from the last checkpoint."""
    with bench.during(fails(MemoryError())):
        assert "More memory is needed than there is (MemoryError)." in bench.train(*SMALL, code=2)
    bench.goes_on()


@fault("Memory", "the images don't fit into the memory that they may have")
def _(bench):
    """They are read from the disk in each epoch."""
    pictures()
    bench.train(*PICTURES)
    bench.patch.setattr(image_data, "MEMORY_LIMIT", 0)
    bench.train(*PICTURES[:-1], "b")
    one, other = (json.loads(Path(f"runs/{name}/metrics.json").read_text())["train_size"] for name in "ab")
    assert one == other


@fault("Data", "a folder of images vanishes while a run reads it")
def _(bench):
    """Exit code 2; when it is back, `--resume` goes on."""
    pictures()
    bench.patch.setattr(image_data, "MEMORY_LIMIT", 0)
    with bench.during(lambda: shutil.move("pictures", "gone")):
        said = bench.train(*PICTURES, "--batch-size", 8, code=2)
    assert "The data can't be read any more: pictures/" in said
    assert "No such file or directory. Bring them back." in said
    shutil.move("gone", "pictures")
    bench.goes_on()


@fault("Data", "an image isn't one")
def _(bench):
    """Exit code 2 before the training."""
    pictures()
    Path("pictures/cats/3.png").write_bytes(b"no picture")
    bench.refused(*PICTURES, words="pictures/cats/3.png can't be read as an image: it is damaged, or no image.")


@fault("Data", "an image is cut off")
def _(bench):
    """Exit code 2 before the training."""
    pictures(size=32)
    path = Path("pictures/dogs/7.png")
    path.write_bytes(path.read_bytes()[:200])
    bench.refused(*PICTURES, words="pictures/dogs/7.png can't be read")


@fault("Data", "images are damaged, and there is `--skip-damaged`")
def _(bench):
    """A note with their number and names; the others are trained on."""
    pictures(size=32)
    Path("pictures/cats/3.png").write_bytes(b"no picture")
    path = Path("pictures/dogs/7.png")
    path.write_bytes(path.read_bytes()[:200])
    said = bench.train(*PICTURES, "--skip-damaged")
    assert "Note: Left out, as they are damaged: 2 images, pictures/cats/3.png, pictures/dogs/7.png." in said
    metrics = json.loads(Path("runs/a/metrics.json").read_text())
    assert sum(metrics[f"{split}_size"] for split in ("train", "validation", "test")) == 58


@fault("Data", "the folder of a class is empty")
def _(bench):
    """Exit code 2 before the training."""
    pictures()
    Path("pictures/birds").mkdir()
    bench.refused(*PICTURES, words="pictures/birds")


@fault("Data", "a batch is larger than the data")
def _(bench):
    """A note; an epoch is one step."""
    said = bench.train(*SMALL, "--batch-size", 500)
    assert "Note: --batch-size 500 is more than the 200 training images: an epoch is one step" in said


@fault("Data", "a number of a table is infinite")
def _(bench):
    """Exit code 2 before the training, with row and column."""
    table()
    lines = Path("table.csv").read_text().splitlines()
    lines[17] = "inf,3"
    Path("table.csv").write_text("\n".join(lines))
    said = bench.train(*TABLE, code=2)
    assert "'x'" in said
    assert "17" in said


@fault("Data", "the data change between an interruption and `--resume`")
def _(bench):
    """Exit code 2; the run stays as it is."""
    table()

    def interrupt():
        raise KeyboardInterrupt

    with bench.during(interrupt, when=3):
        bench.train(*TABLE, code=130)
    text = Path("table.csv").read_text()
    Path("table.csv").write_text(text.replace("\n", "\n0,0\n", 1))
    said = bench.train("--resume", "runs/a", code=2)
    assert "--dataset csv:table.csv has changed since runs/a began" in said
    Path("table.csv").write_text(text)
    bench.goes_on()


@fault("Data", "a data set must be downloaded, and there is no network")
def _(bench):
    """Exit code 2 within seconds."""
    bench.patch.setattr("urllib.request.urlopen", fails(OSError("unreachable")))
    bench.refused("--dataset", "cifar10", "--data-dir", "sets", words="cifar10")


@fault("Settings", "a configuration file has a setting that doesn't exist")
def _(bench):
    """Exit code 2, with the nearest one that does."""
    Path("mine.json").write_text('{"learning_rat": 0.1}')
    bench.refused("--config", "mine.json", words="learning_rate")


@fault("Settings", "a setting has the wrong type")
def _(bench):
    """Exit code 2."""
    Path("mine.json").write_text('{"epochs": "many"}')
    bench.refused("--config", "mine.json", words="epochs")


@fault("Settings", "settings contradict each other")
def _(bench):
    """Exit code 2."""
    bench.refused("--reg", "l2", "--target-sparsity", 0.5, words="--target-sparsity")


@fault("Settings", "a name is taken")
def _(bench):
    """Exit code 2; nothing is overwritten."""
    bench.train()
    before = Path("runs/a/model.keras").read_bytes()
    bench.refused(*SMALL, words="A run or model named a exists in runs or saved_models and is never overwritten.")
    assert Path("runs/a/model.keras").read_bytes() == before
