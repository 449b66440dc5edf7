"""Which settings of a training decide what is learnt, and which say what is done around it."""

from __future__ import annotations

# Places, and what is written and printed.
AROUND = ("data_dir", "name", "runs_dir", "saved_models_dir", "quiet", "compact", "baseline")
AFTERWARDS = ("mc_samples", "calibrate")  # what is measured, or fitted, after a training
DATA = (
    "dataset", "target", "task", "categorical", "drop", "image_size", "color_mode", "skip_damaged", "train_size",
    "validation_split",
)  # fmt: skip
