"""`tf-reg shrink`."""

import json

import pytest

TRAINED = ("train", "--hidden", 24, "--epochs", 6, "--validation-split", 0.4, "--quiet", "--name", "small")
QUICK = ("--candidates", 1, "--refit-epochs", 10, "--learning-rate", 0.01)


@pytest.mark.slow
def test_a_run_becomes_smaller(command, tmp_path):
    assert command(*TRAINED)[0] == 0
    code, printed, said = command("shrink", "runs/small", "--max-drop", 0.2, *QUICK)
    assert code == 0
    assert all(line.startswith("Note: ") for line in said.splitlines())
    folder, exported = tmp_path / "runs" / "small-shrunk", tmp_path / "saved_models" / "small-shrunk" / "1"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.json", "model.keras", "report.html", "shrink",
    }  # fmt: skip
    assert {path.name for path in (folder / "shrink").iterdir()} == {"candidate-1.keras", "frontier.json"}
    assert (exported / "saved_model.pb").is_file()
    lines = printed.splitlines()
    assert lines[0].startswith("original: ")
    assert lines[1].startswith("candidate 1: ")
    for label in ("parameters", "multiply-adds", "SavedModel (bytes)", "test accuracy", "SavedModel, batch 1 (ms)"):
        assert sum(line.startswith(label) for line in lines) == 1, label
    assert lines[-2:] == ["run         runs/small-shrunk", "SavedModel  saved_models/small-shrunk/1"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["multiply_adds"] <= 24 * 74 / 4
    code, _, said = command("shrink", "runs/small", "--max-drop", 0.2, *QUICK)
    assert (code, "exists and is never overwritten" in said) == (2, True)
    code, _, said = command("export", "runs/small-shrunk", "--name", "again")
    assert (code, said) == (0, "")

    code, _, said = command("shrink", "runs/small", "--name", "n", "--max-drop", 0.002, *QUICK)
    assert code == 2
    assert said.startswith(
        "tf-reg shrink: A drop of at most 0.002 can't be proven by 575 validation examples at the level"
    )
    assert "Train the run with a larger --validation-split, a larger --max-drop, or fewer --candidates." in said


@pytest.mark.slow
def test_nothing_passes(command, tmp_path):
    assert command(*TRAINED)[0] == 0
    code, printed, said = command("shrink", "runs/small", "--max-drop", 0.01, *QUICK[:4], "--learning-rate", 1e-9)
    assert code == 1
    assert "the model is the original" in printed
    assert said.splitlines()[-1].startswith("tf-reg shrink: No smaller model passed the test of a drop")
    assert said.endswith("Nothing was exported. The candidates lie in runs/small-shrunk/shrink.\n")
    assert not (tmp_path / "saved_models" / "small-shrunk").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere is neither the folder of a run, with model.keras in it, nor a .keras file."),
        (
            ["model.keras"],
            "model.keras is no run: shrink needs its data, which config.json in the folder of a run names.",
        ),
        (["run", "--max-drop", "2"], "between 0 and 1"),
        (["run", "--level", "0.7"], "between 0 and 0.5"),
        (["run", "--candidates", "0"], "from 1 to 100"),
        (["run", "--penalty", "l1"], "channels"),
        (["run", "--learning-rate", "0"], "above 0"),
        ([], "SOURCE"),
    ],
)
def test_mistakes(command, tmp_path, words, sentence):
    (tmp_path / "model.keras").touch()
    code, printed, said = command("shrink", *words)
    assert (code, printed) == (2, "")
    assert said.startswith("tf-reg shrink: ")
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_help_names_every_flag(command):
    code, printed, said = command("shrink", "--help")
    assert (code, said) == (0, "")
    for flag in ("--max-drop", "--level", "--penalty", "--no-distill", "--candidates", "--refit-epochs", "--name"):
        assert f"  {flag} " in printed
