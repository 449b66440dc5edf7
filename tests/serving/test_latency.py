"""Times of two models, taken in turn."""

import numpy as np
import pytest

import tf_reg
from tests.exports import small
from tf_reg.serving.verify import apart, latency


def test_the_ratio_and_the_control(monkeypatch):
    clock, times = [0.0], {"dense": 0.008, "compact": 0.002}
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])

    def call(name):
        clock[0] += times[name]

    found = latency.latency(lambda: call("dense"), lambda: call("compact"))
    assert (found.dense_ms, found.compact_ms) == pytest.approx((8, 2))
    assert (found.ratio, found.control) == pytest.approx((4, 1))


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_calls_are_in_turn_and_every_second_round_backwards(monkeypatch, seconds):
    calls = []
    monkeypatch.setattr(latency, "SECONDS", seconds)
    latency.latency(lambda: calls.append("dense"), lambda: calls.append("compact"))
    rounds = latency.FEWEST if seconds == 0 else latency.MOST
    assert calls == ["dense", "compact"] + ["dense", "compact", "dense"] * (1 + rounds)


def test_a_round_gives_the_times_in_the_order_of_the_calls(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])

    def call(name, seconds):
        order.append(name)
        clock[0] += seconds

    calls = [lambda: call("first", 1.0), lambda: call("second", 2.0), lambda: call("third", 4.0)]
    assert latency._round(calls, backwards=False) == [1.0, 2.0, 4.0]
    assert latency._round(calls, backwards=True) == [1.0, 2.0, 4.0]
    assert order == ["first", "second", "third", "third", "second", "first"]


@pytest.mark.slow
def test_saved_models_in_a_process_of_their_own(tmp_path):
    versions = [tf_reg.export(small(), tmp_path / name) for name in "ab"]
    feeds, fetches = {"serving_default_inputs:0": np.ones((5, 4), "float32")}, ["StatefulPartitionedCall:0"]
    [found] = latency.latency_apart(*versions, [((feeds, fetches), (feeds, fetches))])
    assert min(found.dense_ms, found.compact_ms, found.ratio, found.control) > 0
    with pytest.raises(apart.ProcessError, match="nowhere"):
        latency.latency_apart(versions[0], tmp_path / "nowhere", [])


@pytest.mark.slow
def test_the_process_has_neither_tensorflow_for_python_nor_tf_reg(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nimport c_api\nimport latency\n\ndef answer(job):\n    return sorted(sys.modules)\n")
    modules = apart.answered(str(script), None)
    assert {"c_api", "latency"} <= set(modules)
    assert not {"tensorflow", "tf_reg", "keras"} & set(modules)
