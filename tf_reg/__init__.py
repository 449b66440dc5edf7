"""Regularisation for Keras 3: see it, make it give real zeros, and ship the model."""

from tf_reg.callbacks import RegularizationLogger as RegularizationLogger
from tf_reg.export import export as export

__version__ = "0.1.0"

__all__ = ["RegularizationLogger", "export"]
