"""Regularisation for Keras 3: see it, make it give real zeros, and ship the model."""

from tf_reg.callbacks import RegularizationLogger as RegularizationLogger
from tf_reg.export import export as export
from tf_reg.regularizers import GroupLasso as GroupLasso
from tf_reg.regularizers import SparseGroupLasso as SparseGroupLasso
from tf_reg.regularizers import proximal_map as proximal_map
from tf_reg.regularizers import register_prox as register_prox

__version__ = "0.1.0"

__all__ = [
    "GroupLasso",
    "RegularizationLogger",
    "SparseGroupLasso",
    "export",
    "proximal_map",
    "register_prox",
]
