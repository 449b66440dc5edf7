"""What a finished run found, and the table of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tf_reg.recipes import training


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run found (`metrics.json`), and where it lies."""

    metrics: dict[str, Any]
    folder: Path
    saved_model: Path
    compaction: str = ""  # what --compact has cut out and what that saves, as text
    gain: str = ""  # what the penalty has gained and cost, in one line
    columns: str = ""  # which columns of a table the model reads, as a table

    def table(self) -> str:
        """Return the run's results as a table of a few lines."""
        width = max(len(label) for label, _ in self.rows)
        return "\n".join(f"{label:<{width}}  {value:>10}" for label, value in self.rows)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The name and the number of each result."""
        return [(label, form.format(self.metrics[key])) for key, label, form in ROWS if key in self.metrics]


ROWS = (
    ("test_accuracy", "test accuracy", "{:.4f}"),
    ("test_r2", "test R2", "{:.4f}"),
    ("test_rmse", "test RMSE", "{:.5g}"),
    ("test_mae", "test MAE", "{:.5g}"),
    ("test_loss", "test loss", "{:.4f}"),
    ("test_data_loss", "test loss without penalty", "{:.4f}"),
    ("test_nll_one_pass", "test log-loss, one pass", "{:.4f}"),
    ("test_nll_mc", "test log-loss, many passes", "{:.4f}"),
    ("test_nll_temperature", "test log-loss, temperature", "{:.4f}"),
    ("test_ece_one_pass", "calibration error, one pass", "{:.4f}"),
    ("test_ece_mc", "calibration error, many passes", "{:.4f}"),
    ("test_ece_temperature", "calibration error, temperature", "{:.4f}"),
    ("temperature", "temperature", "{:.3f}"),
    ("test_accuracy_mc", "test accuracy, many passes", "{:.4f}"),
    ("train_accuracy", "training accuracy", "{:.4f}"),
    ("train_r2", "training R2", "{:.4f}"),
    ("penalty", "penalty", "{:.4f}"),
    ("sparsity", "exact zeros", "{:.2%}"),
    ("near_sparsity", f"|weight| < {training.NEAR_ZERO:g}", "{:.2%}"),
    ("parameters", "parameters", "{:,}"),
    ("live_parameters", "live parameters", "{:,}"),
    ("baseline_test_accuracy", "test accuracy, no penalty", "{:.4f}"),
    ("baseline_test_r2", "test R2, no penalty", "{:.4f}"),
    ("epochs", "epochs", "{}"),
    ("seconds", "training time (s)", "{:.1f}"),
)
