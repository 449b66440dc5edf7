"""Every model of the matrix agrees in each engine, or is refused in a sentence that names a layer: docs/models.md."""

import keras
import pytest

from tests.matrix import table, warm
from tests.matrix.cells import ENGINES, names_a_layer, row, tells_apart
from tests.matrix.models import MODELS, PLAIN, layers_of_keras
from tests.tools import on_tensorflow, require_module
from tf_reg._walk import layer_paths

pytestmark = on_tensorflow("SavedModels are TensorFlow's")
GOALS = {"C API": 36, "OpenVINO": 28, "ONNX Runtime": 30, "LiteRT": 24}  # of 40


def test_the_table_is_of_these_models():
    shown = table.read()
    assert list(shown) == list(MODELS)
    assert len(shown) >= 40
    for name, cells in shown.items():
        for cell in cells.values():
            assert cell == "refused" or float(cell) <= MODELS[name].tolerance, name
    agree = {title: sum(cells[title] != "refused" for cells in shown.values()) for title in ENGINES}
    assert all(agree[title] / len(shown) >= goal / 40 for title, goal in GOALS.items())
    assert f"| agree, of {len(shown)} | {' | '.join(map(str, agree.values()))} |" in table.PAGE.read_text()
    for kind in ("LSTM", "GRU", "Attention"):  # a recurrent and an attention model for every engine
        assert any(kind in name and "refused" not in cells.values() for name, cells in shown.items())


@pytest.mark.parametrize("name", PLAIN)
def test_the_loader_of_tensorflow_serving_agrees(name):
    cell = row(MODELS[name], ["C API"])["C API"]
    assert cell.verdict == "agrees", cell.said


@pytest.mark.slow
def test_every_layer_of_keras_is_in_a_model_and_every_input_matters():
    kinds = set()
    for name, case in MODELS.items():
        model = case.model()
        kinds |= {type(layer) for _, layer in layer_paths(model)} | {type(model)}
        if "stateful" not in name:
            assert tells_apart(model, case.requests()[0]) == [], name
    assert [name for name, kind in layers_of_keras().items() if kind not in kinds] == []


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # the converters' own
@pytest.mark.parametrize("name", MODELS)
def test_each_cell_is_what_the_table_says(name, monkeypatch):
    for module in ("tf2onnx", "onnxruntime", "ai_edge_litert", "openvino"):
        require_module(module, "onnx,litert,openvino")
    warm.use(monkeypatch.setattr)
    keras.backend.clear_session()  # each model has the names of its layers anew
    model = MODELS[name].model()
    keras.backend.clear_session()
    shown = table.read()[name]
    for title, cell in row(MODELS[name]).items():
        assert cell.verdict in ("agrees", "refused"), (title, cell)
        assert (cell.verdict == "refused") == (shown[title] == "refused"), (title, cell)
        if cell.verdict == "refused":
            assert names_a_layer(model, cell.said), (title, cell)
