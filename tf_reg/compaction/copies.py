"""A copy of a model, with all that it has."""

from __future__ import annotations

import keras
import numpy as np

from tf_reg.compaction.finishing import finished
from tf_reg.compaction.plan import analysed
from tf_reg.compaction.rebuild import Rebuilt
from tf_reg.compaction.removal import Removal


def copied(model: keras.Model) -> keras.Model:
    """Return a model with layers of its own that computes the same, has the same names, and is compiled alike.

    The weights, statistics, random states, regularizers and frozen parts are those of the model. The optimizer starts
    anew.

    Args:
        model: A built functional or sequential model.

    Raises:
        ValueError: Another model, or one that isn't built.
    """
    analysis = analysed(model)
    needed = {read.place: np.zeros(read.kernel.shape[read.inputs], bool) for read in analysis.reads}
    rebuilt = Rebuilt(Removal(analysis, frozenset(), needed))
    return finished(model, rebuilt)
