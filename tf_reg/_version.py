"""The version of tf_reg."""

__version__ = "0.1.0"
