"""`scripts/benchmark.py`, run as a user does, in this process: never an assertion about a time."""

import math
import sys

import keras
import pytest

from benchmarks import step_cost, step_networks, stepping, subjects, support, timing
from tests.tools import require_module

ONCE = ["--repeats", "1"]
SMALL = ["--dataset", "digits", "--train-size", "64", *ONCE]


@pytest.fixture
def report(script, capsys):
    """What a command prints, by its arguments."""

    def run(*arguments, small=SMALL):
        code = script("benchmark").main([*arguments, *small])
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return printed.out

    return run


@pytest.fixture
def refusal(script, capsys):
    """The one line that a command says when it refuses its arguments."""

    def run(arguments):
        assert script("benchmark").main(arguments) == 2
        [message] = capsys.readouterr().err.splitlines()
        return message

    return run


def tables(text):
    """Every table as its rows, each a list of cells; the header is the first."""
    lines = text.splitlines()
    starts = [number - 1 for number, line in enumerate(lines) if line.startswith("|---")]
    for start in starts:
        rows = []
        for number, line in enumerate(lines[start:]):
            if not line.startswith("|"):
                break
            if number != 1:
                rows.append([cell.strip() for cell in line.strip("|").split("|")])
        yield rows


def number(cell):
    """The median of a cell such as `1.5 [1.2, 1.7]`."""
    return float(cell.partition(" ")[0].replace(",", ""))


def check(table, rows):
    assert [row[0] for row in table[1:]] == rows
    for row in table[1:]:
        assert len(row) == len(table[0])
        assert all(0 < number(cell) < math.inf for cell in row[1:] if "[" in cell)


@pytest.mark.long
def test_logger(report):
    text = report("logger", "--batch-size", "32")
    assert f"`python scripts/benchmark.py logger --batch-size 32 {' '.join(SMALL)}`" in text
    assert "keras" in text
    [table] = tables(text)
    networks = ("MLP 1024-1024", "CNN")
    check(table, [name + more for name in networks for more in ("", ", no metric `data_loss`")])
    assert all(number(row[-1]) < 100 for row in table[1:])


@pytest.mark.slow
def test_mc_predict(report):
    [table] = tables(report("mc_predict", "--batch-sizes", "2", "--samples", "3"))
    check(table, ["MLP 1024-1024, 2", "CNN, 2", "CNN, dropout throughout, 2"])


@pytest.mark.slow
def test_steps(report, monkeypatch):
    monkeypatch.delitem(subjects.NETWORKS, "MLP 1024-1024")
    [table] = tables(report("training", "--parts", "steps", "--batch-sizes", "32"))
    check(table, ["CNN, 32"])


@pytest.mark.slow
def test_throughput(report):
    require_module("torch")
    [table] = tables(report("training", "--parts", "throughput", "--batch-sizes", "4"))
    check(table, ["4"])
    assert "/" not in table[1][1], "the two networks differ"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(step_cost, "SECONDS", 0.001)
    monkeypatch.setattr(step_cost, "LAYERS", 2)
    for networks in ("NETWORKS", "DEEP"):
        monkeypatch.setattr(step_cost, networks, {"CNN": step_networks.NETWORKS["CNN"]})


@pytest.mark.long
def test_proximal(report, short):
    text = report("proximal", "--widths", "4", "--batch-sizes", "2", "--optimizers", "adam", small=ONCE)
    penalties, concave, sizes, networks, first, layers = tables(text)
    check(networks, ["CNN, Adam, 128"])
    check(first, ["CNN, Adam"])
    assert len(first[0]) == 8
    assert all(float(cell) > 0 for cell in first[1][1:])
    check(penalties, [f"Adam, {jit}, 4, 2" for jit in ("off", "on")])
    check(concave, ["Adam, off, 4, 2"])
    check(sizes, ["Adam, off, 4, 2"])
    check(layers, ["Adam"])
    found = (penalties, concave, sizes, networks, layers)
    assert [len(table[0]) for table in found] == [7, 11, 8, 8, 7]
    assert all("[" in cell for table in found for cell in table[1][1:])


PAIRS = [(arm, optimizer) for arm in step_cost.ARMS for optimizer in step_cost.OPTIMIZERS]
IN_SLOW = [(step_cost.IN_LOSS, "adam"), (next(iter(step_cost.GROUPED)), "sgd")]


@pytest.mark.parametrize(
    ("arm", "optimizer"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair in IN_SLOW else pytest.mark.long) for pair in PAIRS],
)
def test_what_is_measured_stays_as_it_was(arm, optimizer):
    """The weights neither die nor learn the batch while they are measured: either would change the work of a step."""
    model = step_cost.model(step_cost.ARMS[arm], optimizer, jit=False, width=4)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    stepping.seconds(model, stepping.constant(step_cost.batch(2)), 200)
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert any((old != new).any() for old, new in zip(before, after, strict=True))
    assert all(abs(old - new).max() < 0.01 for old, new in zip(before, after, strict=True))


@pytest.mark.slow
def test_export(report):
    [table] = tables(report("export"))
    assert {row[0] for row in table[1:]} == {"MLP 1024-1024", "CNN"}
    for _, weights, ours, theirs, share, *times in table[1:]:
        assert number(weights) < number(ours) < number(theirs)
        assert number(share) < 0.51
        assert all(0 < number(cell) < math.inf for cell in times)


@pytest.mark.long
def test_compaction(report):
    flags = ("--networks", "MobileNet", "--size", "32")
    networks, speed, memory = tables(report("compaction", *flags, small=ONCE))
    assert [table[1][0] for table in (networks, speed, memory)] == ["MobileNet"] * 3
    sizes = dict(zip(networks[0], networks[1], strict=True))
    assert number(sizes["compacted"]) < number(sizes["parameters"])
    assert number(sizes["compacted / built so"]) == 1
    assert number(sizes["largest difference"]) < 1e-5
    assert speed[2][0] == "MobileNet, served"
    assert all(number(cell) > 0 for row in speed[1:] for cell in row[1:])
    assert number(memory[1][1]) > 0


MISTAKES = {
    "no command": ([], "COMMAND"),
    "unknown command": (["speed"], "speed"),
    "unknown flag": (["logger", "--repeat", "3"], "--repeat"),
    "no number": (["logger", "--repeats", "many"], "--repeats"),
    "no repeats": (["logger", "--repeats", "0"], "--repeats"),
    "no batch": (["logger", "--batch-size", "0"], "--batch-size"),
    "unknown part": (["training", "--parts", "lunch"], "--parts"),
    "no samples": (["mc_predict", "--samples", "0"], "--samples"),
    "no batches": (["training", "--batch-sizes", "4", "-1"], "--batch-sizes"),
    "unknown optimizer": (["proximal", "--optimizers", "adadelta"], "--optimizers"),
    "unknown word": (["proximal", "--jit", "perhaps"], "--jit"),
    "no units": (["proximal", "--widths", "0"], "--widths"),
    "data that no one loads": (["proximal", "--dataset", "digits"], "--dataset"),
    "few examples": (["logger", "--dataset", "digits", "--train-size", "20"], "batch of 128"),
    "unknown network": (["compaction", "--networks", "ResNet51"], "ResNet51"),
    "no share": (["compaction", "--share", "1"], "--share"),
    "few pixels": (["compaction", "--size", "8"], "--size"),
    "another share": (["compaction", "--parts", "speed", "--share", "0.3"], "half"),
    "another backend": (["accelerator"], "KERAS_BACKEND=jax"),
    "no folder": (["logger", "--dataset", "folder:nowhere"], "nowhere"),
}


@pytest.mark.parametrize(("arguments", "word"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_one_sentence(refusal, arguments, word):
    message = refusal(arguments)
    assert message.startswith("benchmark.py: ")
    assert message.endswith(".")
    assert word in message


def test_without_torch(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refusal(["training", *SMALL])
    assert message == 'benchmark.py: The comparison with PyTorch needs PyTorch: pip install -e ".[backends]".'


def test_every_name_has_each_place_equally_often():
    names = ["a", "b", "c"]
    turns = list(timing.order(names, 6))
    rounds = [turns[start : start + 3] for start in range(0, 18, 3)]
    assert all(sorted(turn) == names for turn in rounds)
    assert all(sorted(places) == ["a", "a", "b", "b", "c", "c"] for places in zip(*rounds, strict=True))


def test_interleaved_times_are_paired_and_the_first_is_left_out():
    clocks = {"fast": iter([100, 1, 2, 3]), "slow": iter([100, 2, 4, 6])}
    times = timing.interleave({name: lambda clock=clock: next(clock) for name, clock in clocks.items()}, 3)
    assert times == {"fast": [1, 2, 3], "slow": [2, 4, 6]}
    assert timing.ratio(times, "slow", "fast") == timing.Spread(2, 2, 2)
    assert timing.Spread.of([1, 2, 3, 4, 5]).show("{:.1f}", 10) == "30.0 [20.0, 40.0]"


@pytest.mark.slow
def test_support(report, tmp_path):
    """Few epochs, and once more from the file: the same rows, and no further training."""
    flags = ("--epochs", "5", "--optimizers", "sgd", "--penalties", "l1", "--file", str(tmp_path / "runs.jsonl"))
    [table] = tables(report("support", *flags, small=ONCE))
    check(table, ["l1, sgd, no, 0", "l1, sgd, yes, 0"])
    changes = [[number(cell) for cell in row[-5:]] for row in table[1:]]
    assert sum(changes[1]) < sum(changes[0])
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 2
    assert [table] == list(tables(report("support", *flags, small=ONCE)))
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 2


def test_changes_of_zeros_are_counted(refusal):
    assert "--epochs must be 5 or more" in refusal(["support", "--epochs", "4"])
    counter = support.ZeroCounter()
    layer = keras.layers.Dense(2)
    counter.set_model(keras.Sequential([keras.Input((2,)), layer]))
    layer.kernel.assign([[0.0, 1.0], [1.0, 1.0]])
    counter.on_train_begin()
    for kernel in [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]:
        layer.kernel.assign(kernel)
        counter.on_train_batch_end(0)
    assert counter.changes == [(2, 1), (1, 0)]
    assert counter.zero.tolist() == [False, True, True, True]
