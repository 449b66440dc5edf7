"""Resume: a training that was interrupted ends with the same weights, history and files as one that wasn't."""

import os
import signal

import keras
import numpy as np
import pytest

import tf_reg
from tests.callbacks.resumable import AT_ONCE, EPOCHS, KINDS, STEPS, At, InterruptionError, data, model, train
from tests.tools import mostly_slow
from tf_reg.callbacks import checkpoints

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:TargetSparsity:UserWarning"),
    pytest.mark.filterwarnings("ignore:The output doesn't depend:UserWarning"),
]


def interrupt():
    raise InterruptionError


def interrupted(kind, folder, batches, **options):
    """Train until so many batches, then go on in a new model."""
    with pytest.raises(InterruptionError):
        train(kind, folder, At(batches, interrupt), **options)
    return train(kind, folder, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    known = {}

    def of(kind):
        if kind not in known:
            known[kind] = train(kind, tmp_path_factory.mktemp(kind) / "c")
        return known[kind]

    return of


# In the second, the third and the last epoch; after the first and the last batch of one.
MOMENTS = (STEPS + 1, 2 * STEPS + 3, 3 * STEPS, EPOCHS * STEPS - 2)


@pytest.mark.parametrize("kind", mostly_slow(KINDS, "keras"))
def test_it_ends_as_if_nothing_had_happened(kind, reference, tmp_path):
    at_once = AT_ONCE if kind == "gap" else 1
    for number, batches in enumerate(MOMENTS[1:3] if kind == "keras" else MOMENTS[::3]):
        every = (2, 1)[number]
        if at_once > 1:
            batches = min(batches // at_once + 1, EPOCHS * 3 - 1)
        made = interrupted(kind, tmp_path / str(number), batches, every=every, first=bool(number % 2))
        assert made == reference(kind), (kind, batches, every)


@pytest.mark.slow
def test_twice_interrupted(reference, tmp_path):
    with pytest.raises(InterruptionError):
        train("target", tmp_path / "c", At(STEPS + 2, interrupt), every=2)
    assert interrupted("target", tmp_path / "c", 2 * STEPS, every=3) == reference("target")


@pytest.mark.slow
def test_a_finished_training_ends_at_once_and_goes_on_with_more_epochs(tmp_path):
    longer = train("proximal", tmp_path / "a", epochs=4)
    short = train("proximal", tmp_path / "b", epochs=2)
    with pytest.warns(UserWarning, match="Nothing is left to train.*with 2 epochs, and fit has 2"):
        assert train("proximal", tmp_path / "b", epochs=2) == short
    assert train("proximal", tmp_path / "b", epochs=4) == longer


def test_a_training_that_was_stopped_early_stays_stopped(reference, tmp_path):
    stopped = reference("keras")
    epochs = len(stopped[1]["loss"])
    assert epochs < EPOCHS, "EarlyStopping must stop it"
    train("keras", tmp_path / "c")
    assert train("keras", tmp_path / "c") == stopped


@pytest.mark.slow
def test_the_last_but_one_is_taken_where_the_last_is_damaged(reference, tmp_path):
    with pytest.raises(InterruptionError):
        train("target", tmp_path / "c", At(2 * STEPS + 3, interrupt), every=2)
    before, newest = sorted((tmp_path / "c").glob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-200])
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged.*{before.name}"):
        assert train("target", tmp_path / "c", every=2) == reference("target")


def fit(made, folder, **options):
    x, y = data()
    given = {"epochs": 2, "batch_size": 16, "verbose": 0} | options
    return made.fit(x, y, callbacks=[*given.pop("callbacks", []), tf_reg.Resume(folder)], **given)


def test_another_model_or_other_data_are_refused(tmp_path):
    fit(model(), tmp_path)
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"of another model or optimizer. It holds .* \(8, 16\).*Received: .*\(8, 3\)"):
        fit(other, tmp_path, epochs=3)
    assert not np.any(other.get_weights()[1])  # and it is as it was
    with pytest.raises(InterruptionError):
        train("keras", tmp_path / "c", At(STEPS + 3, interrupt), every=1)
    with pytest.raises(ValueError, match=f"with {STEPS} batches an epoch. Received data with 13"):
        fit(model(optimizer=keras.optimizers.SGD(0.1, momentum=0.9)), tmp_path / "c", epochs=3, batch_size=8)


def test_a_model_that_is_not_built_is_refused(tmp_path):
    made = keras.Sequential([keras.layers.Dense(3)])
    made.compile("sgd", "mse")
    if keras.backend.backend() != "tensorflow":  # which builds it in the first step, the others before
        pytest.skip("fit builds the model on other backends")
    with pytest.raises(ValueError, match=r"needs a model that is built"):
        fit(made, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((3,), "folder is a path"), (("",), "folder is a path"), (("a", 0), "every"), (("a", None, 1), "reread")],
)
def test_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        tf_reg.Resume(*arguments)


def test_outside_of_fit_it_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match="takes part in fit"):
        keras.callbacks.CallbackList([tf_reg.Resume(tmp_path)], model=model()).on_train_begin()


class Keeper(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.thing = object()

    def on_epoch_end(self, epoch, logs=None):
        self.thing = object()


def test_what_a_checkpoint_cannot_hold_is_said(tmp_path):
    with pytest.warns(UserWarning, match=r"'thing' of Keeper, which is a object. Give the callback get_state\(\)"):
        fit(model(), tmp_path, callbacks=[Keeper()])


class Wrong(keras.callbacks.Callback):
    def get_state(self):
        return {"model": self.model}

    def set_state(self, state):
        pass


def test_a_state_that_is_not_plain_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"get_state\(\) of a callback returns .*Received: a Sequential from Wrong"):
        fit(model(), tmp_path, callbacks=[Wrong()])


def test_a_first_epoch_of_ones_own(tmp_path):
    def second(folder, stop=()):
        keras.utils.set_random_seed(0)
        made = model()
        fit(made, folder, initial_epoch=3, epochs=6, callbacks=[*stop])
        return made.get_weights()

    wanted = second(tmp_path / "a")
    with pytest.raises(InterruptionError):
        second(tmp_path / "b", [At(STEPS + 2, interrupt)])
    assert all(map(np.array_equal, second(tmp_path / "b"), wanted))


def test_a_callback_that_is_gone_is_said(tmp_path):
    fit(model(), tmp_path, callbacks=[keras.callbacks.TerminateOnNaN(), tf_reg.GapController()],
        validation_split=0.2)  # fmt: skip
    with pytest.warns(UserWarning, match="the state of a GapController, which isn't among the callbacks"):
        fit(model(), tmp_path, epochs=3, validation_split=0.2)


def test_a_full_disk_ends_no_training(tmp_path, monkeypatch):
    real, calls = checkpoints.write, []

    def full(path, *rest):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(path, *rest)

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.warns(UserWarning, match=r"after epoch 2, batch 0 can't be written.*No space left on device"):
        fit(model(), tmp_path, epochs=3)
    assert [path.name[:12] for path in sorted(tmp_path.glob("*.checkpoint"))] == ["epoch-000001", "epoch-000003"]


@pytest.mark.slow
def test_sigterm_saves_and_does_what_it_would_have_done(reference, tmp_path, monkeypatch):
    heard = []

    def hear(number, frame):
        heard.append(number)
        raise InterruptionError

    before = signal.signal(signal.SIGTERM, hear)
    try:
        with pytest.raises(InterruptionError):
            train("target", tmp_path / "c", At(STEPS + 3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is hear
        names = [path.name for path in sorted((tmp_path / "c").glob("*.checkpoint"))]
        assert names[-1] == checkpoints.name_of(1, 3)
        assert train("target", tmp_path / "c") == reference("target")
        assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_exception_leaves_sigterm_to_its_owner(tmp_path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(InterruptionError):
            train("proximal", tmp_path / "c", At(3, interrupt))
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_same_list_of_callbacks_serves_two_trainings(tmp_path):
    x, y = data()
    listed = keras.callbacks.CallbackList([tf_reg.Resume(tmp_path)], add_history=True)
    made = model()
    listed.set_model(made)
    for epochs in (2, 4):
        listed.set_params({"epochs": epochs, "steps": STEPS})
        made.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=listed)
    assert len(listed.callbacks) == 2
    assert int(np.max(made.optimizer.iterations)) == 4 * STEPS
