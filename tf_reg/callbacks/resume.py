"""A callback with which a training that was killed goes on as if nothing had happened."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import keras
from keras import ops

from tf_reg import _keras, _processes
from tf_reg._callers import local_of
from tf_reg._checks import checked_path, count, require, shown
from tf_reg._trainer import optimizers_of
from tf_reg.callbacks import checkpoints
from tf_reg.callbacks.batches import batches_done, steps_at_once
from tf_reg.callbacks.output_watcher import listed_with
from tf_reg.callbacks.replay import Skip, random_state, read_again, set_random_state
from tf_reg.callbacks.saved_state import SavedState, decode, encode, named, plain_state
from tf_reg.callbacks.saved_variables import variables_of
from tf_reg.callbacks.stop_signal import StopSignal
from tf_reg.measure.not_finite import is_finite


class Resume(keras.callbacks.Callback):
    """Save checkpoints, and begin at the last one if there is one: run the same program again, and it goes on.

    A checkpoint is written at the end of each epoch, and every `every` batches. It holds all variables of the model, of
    its optimizers and metrics; the state of the random numbers; how far the epoch is; and what the other callbacks
    remember, those of Keras too, wherever they stand in the list: the best weights of `EarlyStopping`, the file of a
    `CSVLogger`, the search of `tf_reg.TargetSparsity`. Of a callback of your own these are the attributes that are
    numbers, words, arrays, lists or dictionaries. One with others has a `get_state()`, which returns such values, and a
    `set_state(state)`.

    A training that was killed and goes on ends with the same weights as one that wasn't, to the last bit, if the same
    program always gives the same weights: with `keras.utils.set_random_seed`, on the CPU.

    A checkpoint is there whole or not at all, and the last two are kept. If the last one is damaged, the one before is
    taken. Nothing is written any more once the loss or the weights are NaN or infinite. A folder belongs to one process
    at a time. When SIGTERM comes, as a scheduler sends it, a checkpoint is written after the batch, or after the
    validation that runs, and the process ends as it would have.

    Of several processes that train together, on JAX, process 0 writes. All read: the folder is one that they share. The
    SIGTERM that counts is that of process 0.

    A training that has come to its end has its checkpoint too: run again, it ends at once, with the same weights and
    history. With more `epochs` it goes on. To begin anew, take another folder.

    Args:
        folder: A folder for the checkpoints of this training alone.
        every: After how many batches to save as well; by default at the ends of epochs only.
        reread: How the data get to where they were. With True all batches of the epochs before are read once more. With
            False one of each epoch, which is enough for arrays and for a `tf.data.Dataset` that only shuffles: it
            isn't for one that draws random numbers in Python, or counts. Of the epoch that was interrupted, the batches
            that it had are read in any case.

    Raises:
        ValueError: Arguments out of their ranges; in `fit`, a model that isn't built, a folder that another process
            uses, or one that has checkpoints of another model or of other data, or damaged ones alone.

    Warns:
        UserWarning: For a checkpoint that is damaged, one that can't be written (training goes on), a training that
            diverged, a callback whose state it doesn't hold, and where nothing is left to train.

    Example:
        >>> def train(epochs):
        ...     keras.utils.set_random_seed(0)
        ...     model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     x = keras.random.normal((32, 3), seed=1)
        ...     model.fit(x, x[:, :1], epochs=epochs, verbose=0, callbacks=[tf_reg.Resume("checkpoints")])
        ...     return model.history.history["loss"]
        >>> first = train(2)
        >>> more = train(5)
        >>> len(more), more[:2] == first
        (5, True)
    """

    def __init__(self, folder: str | os.PathLike[str], every: int | None = None, reread: bool = True) -> None:
        super().__init__()
        require(isinstance(reread, bool), "reread is True or False", "reread", reread)
        self.folder = checked_path(folder, "folder")
        self.every = None if every is None else count(every, "every")
        self.reread = reread

    def on_train_begin(self, logs: Any = None) -> None:
        """Put a part of this callback behind all others: it restores them when they have begun, and sees them last.

        What can't go on is refused here, before the callbacks behind this one begin: a `CSVLogger` empties its file.
        """
        listed = listed_with(self, "on_train_begin")
        if local_of("fit", "epoch_iterator") is None or self not in listed:
            raise ValueError("tf_reg.Resume takes part in fit. Received a training loop of another kind.")
        require(
            self.model.built, "tf_reg.Resume needs a model that is built: give it a keras.Input", "model", self.model
        )
        if _processes.number() == 0:
            checkpoints.hold(self.folder)
        found = checkpoints.last(self.folder)
        self._agree(found)
        listed[:] = [one for one in listed if not isinstance(one, _Last)]  # of a `fit` that was interrupted
        last = _Last(self, found)
        last.set_params(self.params)
        last.set_model(self.model)
        listed.append(last)

    def _agree(self, found: checkpoints.Checkpoint | None) -> None:
        """Check that all processes of a training begin at the same point, and wait for them."""
        about = None if found is None else decode(found.facts["about"], found.arrays)
        points = _processes.of_all([-1, -1] if about is None else [about["epoch"], about["done"]])
        if any(one != points[0] for one in points):
            raise checkpoints.CheckpointError(
                f"The processes of this training don't find the same checkpoint in {self.folder}. Give all of "
                "them one folder, on a file system that they share."
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Do nothing. Keras calls batch by batch, and not in a thread, where a callback has this method."""


class _Last(keras.callbacks.Callback):
    """Saves and restores, as the last callback of a training.

    Args:
        owner: The callback that the user made.
        found: The checkpoint to begin at, if there is one.
    """

    def __init__(self, owner: Resume, found: checkpoints.Checkpoint | None) -> None:
        super().__init__()
        self._owner, self._found = owner, found
        self._states: dict[str, SavedState] = {}
        self._at_once = 1
        self._epoch = self._done = self._saved = 0
        self._diverged = False
        self._from: checkpoints.Checkpoint | None = None  # whose epoch is begun and not done
        self._about: Any = None  # what it says
        self._skip: Skip | None = None
        self._stop = StopSignal()
        self._at_begin: Any = None
        self._at_epoch: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore the last checkpoint."""
        model = self.model
        self._at_once = steps_at_once(model)
        listed = [one for one in listed_with(self, "on_train_begin") if one not in (self, self._owner)]
        self._states = {name: SavedState(one) for name, one in named(listed).items()}
        self._at_begin = random_state()
        if self._found is not None:
            self._go_on(self._found)
            self._found = None  # it holds all arrays
        self._stop.listen(model)

    def _go_on(self, found: checkpoints.Checkpoint) -> None:
        about = decode(found.facts["about"], found.arrays)
        epoch, done = about["epoch"], about["done"]
        if done and about["steps"] != self.params.get("steps"):
            raise checkpoints.CheckpointError(
                f"{found.path} is of a training with {about['steps']} batches an epoch. Received data with "
                f"{self.params.get('steps')}. Give the same data and batch size, or take another folder."
            )
        self._restore(found, metrics=False)
        before = epoch - local_of("fit", "initial_epoch")
        if before > 0:
            self._at_begin = about["at_begin"]
            set_random_state(self._at_begin)
            read_again(local_of("fit", "epoch_iterator"), before, self._owner.reread)
        set_random_state(about["at_epoch"] if done else about["random"])
        self._at_epoch = about["at_epoch"]
        self._from, self._about = (found, about) if done else (None, None)
        epochs = self.params["epochs"]
        if not done and epoch >= epochs:
            warnings.warn(
                f"Nothing is left to train: {found.path} is of a training with {epoch} epochs, and fit has {epochs}. "
                "To train anew, take another folder.",
                stacklevel=2,
            )
        _keras.start_at_epoch(self.model, max(epoch, epochs) if about["stopped"] and not done else epoch)

    def _restore(self, found: checkpoints.Checkpoint, metrics: bool) -> None:
        """Bring back all variables, and what the callbacks remember.

        Args:
            found: The checkpoint.
            metrics: Whether the metrics have their variables, which they get with the first batch.
        """
        model = self.model
        for optimizer in optimizers_of(model):
            if not optimizer.built:
                optimizer.build(model.trainable_variables)
        variables = variables_of(model, metrics)
        shapes = [tuple(one.shape) for one in variables]
        values = [found.arrays[f"variable-{place}"] for place in range(found.facts["variables"])]
        wanted = [value.shape for value in values][: None if metrics else found.facts["without metrics"]]
        if shapes != wanted:
            raise checkpoints.CheckpointError(
                f"{found.path} is of another model or optimizer. It holds variables of the shapes {shown(wanted)}. "
                f"Received: {shown(shapes)}. Build and compile the model as before, or take another folder."
            )
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)
        states = found.facts["states"]
        for name, state in self._states.items():
            if name in states:
                state.set(decode(states[name], found.arrays))
        for name, form in states.items():
            if name not in self._states and decode(form, found.arrays):
                warnings.warn(f"{found.path} has the state of a {name}, which isn't among the callbacks.", stacklevel=2)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Skip the batches that the epoch has had."""
        _keras.start_at_epoch(self.model, None)
        self._epoch, self._done, self._saved = epoch, 0, 0
        if self._from is None:
            self._at_epoch = random_state()
            return
        set_random_state(self._at_epoch)
        self._skip = Skip(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save, if it is time to."""
        self._done = batches_done(batch, self.params, self._at_once)
        if self._skip is not None and self._from is not None:
            if self._done >= self._about["done"]:
                self._skip.end()
                self._restore(self._from, metrics=True)
                set_random_state(self._about["random"])
                self.model.stop_training = self._about["stopped"]
                self._skip, self._from, self._saved = None, None, self._done
            return
        every = self._owner.every
        if self._stop.asked or (every is not None and self._done // every > self._saved // every):
            self._save(self._epoch, self._done, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save."""
        self._save(epoch + 1, 0, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Let go of the folder."""
        _keras.start_at_epoch(self.model, None)
        self._stop.end()
        checkpoints.release(self._owner.folder)
        listed = listed_with(self, "on_train_end")
        listed[:] = [one for one in listed if one is not self]

    def _save(self, epoch: int, done: int, logs: Any) -> None:
        """Write a checkpoint, unless the training diverged, and end the process if it is asked to."""
        self._saved = done
        if _processes.number():
            return  # process 0 writes, and ends the training where it is told to
        if math.isfinite((logs or {}).get("loss", 0.0)) and is_finite(self.model.trainable_variables):
            self._write(epoch, done)
        elif not self._diverged:
            self._diverged = True
            warnings.warn(
                f"Training diverged in epoch {self._epoch + 1}: the loss or the weights are NaN or infinite. The last "
                f"checkpoint in {self._owner.folder} stays as it is, and no other is written.",
                stacklevel=2,
            )
        if self._stop.asked:
            checkpoints.release(self._owner.folder)
            self._stop.obey()

    def _write(self, epoch: int, done: int) -> None:
        model = self.model
        variables = variables_of(model, metrics=True)
        arrays = {f"variable-{place}": ops.convert_to_numpy(one) for place, one in enumerate(variables)}
        about = {
            "epoch": epoch,
            "done": done,
            "steps": self.params.get("steps"),
            "stopped": bool(model.stop_training),
            "random": random_state(),
            "at_begin": self._at_begin,
            "at_epoch": self._at_epoch,
        }
        facts = {
            "about": encode(about, arrays),
            "states": {name: plain_state(name, state, arrays) for name, state in self._states.items()},
            "variables": len(variables),
            "without metrics": len(variables_of(model, metrics=False)),
        }
        try:
            checkpoints.write(self._owner.folder / checkpoints.name_of(epoch, done), arrays, facts)
        except OSError as error:
            warnings.warn(
                f"The checkpoint after epoch {epoch}, batch {done} can't be written to {self._owner.folder}: "
                f"{error.strerror or error}. Training goes on, and the last checkpoint stays as it is.",
                stacklevel=2,
            )
