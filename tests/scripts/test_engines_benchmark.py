"""`scripts/benchmark.py engines`: never an assertion about a time."""

import pytest

from benchmarks import engine_speed
from tests.tools import require_module


def test_mistakes_are_one_sentence(script, capsys, monkeypatch):
    monkeypatch.setattr(engine_speed, "is_installed", lambda engine: True)
    for flags in (["--network", "NoNet"], ["--size", "8"]):
        assert script("benchmark").main(["engines", *flags]) == 2
        [said] = capsys.readouterr().err.splitlines()
        assert said.startswith("benchmark.py: Give a name in keras.applications and 32 pixels or more. Received: ")
    monkeypatch.setattr(engine_speed, "is_installed", lambda engine: engine != "litert")
    assert script("benchmark").main(["engines"]) == 2
    said = 'benchmark.py: All engines have to be installed: pip install -e ".[litert]".\n'
    assert capsys.readouterr().err == said


@pytest.mark.long
def test_the_tables(script, capsys):
    for module, extra in (("tf2onnx", "onnx"), ("ai_edge_litert", "litert"), ("openvino", "openvino")):
        require_module(module, extra)
    assert script("benchmark").main(["engines", "--network", "MobileNet", "--size", "32", "--repeats", "1"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    sizes, times = rows[1:4], rows[5:]
    assert [row[0] for row in sizes] == ["SavedModel: variables and graph", "ONNX", "LiteRT"]
    assert all(float(compacted) < float(dense) for _, dense, compacted in sizes)
    titles = ["TensorFlow's C API", "ONNX Runtime", "LiteRT", "OpenVINO"]
    assert [(row[0], row[1]) for row in times] == [(title, batch) for title in titles for batch in ("1", "64")]
    assert all(float(cell.split()[0]) > 0 for row in times for cell in row[2:])
