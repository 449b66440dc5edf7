"""Regularisation for Keras 3: see it, make it give real zeros, and ship the model."""

from tf_reg import tf1 as tf1
from tf_reg._version import __version__ as __version__
from tf_reg.callbacks.dropout_schedule import DropoutSchedule as DropoutSchedule
from tf_reg.callbacks.gap_controller import GapController as GapController
from tf_reg.callbacks.penalty_factors import set_penalty_factors as set_penalty_factors
from tf_reg.callbacks.refit import Refit as Refit
from tf_reg.callbacks.regularization_logger import RegularizationLogger as RegularizationLogger
from tf_reg.callbacks.resume import Resume as Resume
from tf_reg.callbacks.reweight import Reweight as Reweight
from tf_reg.callbacks.strength import proximal_of as proximal_of
from tf_reg.callbacks.strength_schedule import StrengthSchedule as StrengthSchedule
from tf_reg.callbacks.target_sparsity import TargetSparsity as TargetSparsity
from tf_reg.callbacks.training_guard import TrainingGuard as TrainingGuard
from tf_reg.callbacks.weight_averaging import StochasticWeightAveraging as StochasticWeightAveraging
from tf_reg.compaction.compact import compact as compact
from tf_reg.compaction.coupled import channels as channels
from tf_reg.compaction.plan import plan_compaction as plan_compaction
from tf_reg.compaction.self_check import self_check as self_check
from tf_reg.compaction.threshold import threshold as threshold
from tf_reg.layers.drop_block import DropBlock2D as DropBlock2D
from tf_reg.layers.drop_connect import DropConnect as DropConnect
from tf_reg.layers.stochastic_depth import StochasticDepth as StochasticDepth
from tf_reg.layers.temperature_scaling import TemperatureScaling as TemperatureScaling
from tf_reg.measure.zeros import sparsity as sparsity
from tf_reg.optimizers.proximal import Proximal as Proximal
from tf_reg.penalties.channel_penalty import ChannelLasso as ChannelLasso
from tf_reg.penalties.channel_penalty import ChannelPenalty as ChannelPenalty
from tf_reg.penalties.checked_map import proximal_map as proximal_map
from tf_reg.penalties.column_lasso import ColumnLasso as ColumnLasso
from tf_reg.penalties.group_lasso import GroupLasso as GroupLasso
from tf_reg.penalties.log_sum import LogSum as LogSum
from tf_reg.penalties.lq import Lq as Lq
from tf_reg.penalties.mcp import MCP as MCP
from tf_reg.penalties.registry import register_prox as register_prox
from tf_reg.penalties.scad import SCAD as SCAD
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso as SparseGroupLasso
from tf_reg.reporting.results import report as report
from tf_reg.rules.regularize_model import regularize as regularize
from tf_reg.rules.regularize_model import remove_regularizers as remove_regularizers
from tf_reg.rules.regularizer_table import regularizers_of as regularizers_of
from tf_reg.selection.cross_validation import cross_validate as cross_validate
from tf_reg.selection.lambda_max import lambda_max as lambda_max
from tf_reg.selection.path import regularization_path as regularization_path
from tf_reg.selection.shrink import shrink as shrink
from tf_reg.selection.stability import stability_selection as stability_selection
from tf_reg.serving.exporting import export as export
from tf_reg.serving.exporting import verify_saved_model as verify_saved_model
from tf_reg.tables.column_norms import column_norms as column_norms
from tf_reg.tables.features import column_features as column_features
from tf_reg.tables.losses import RelativeSquaredError as _RelativeSquaredError  # noqa: F401  # saved models name it
from tf_reg.tables.table import read_table as read_table
from tf_reg.uncertainty.calibration import calibrate as calibrate
from tf_reg.uncertainty.calibration import expected_calibration_error as expected_calibration_error
from tf_reg.uncertainty.monte_carlo import mc_predict as mc_predict

__all__ = [
    "ChannelLasso",
    "ChannelPenalty",
    "ColumnLasso",
    "DropBlock2D",
    "DropConnect",
    "DropoutSchedule",
    "GapController",
    "GroupLasso",
    "LogSum",
    "Lq",
    "MCP",
    "Proximal",
    "Refit",
    "RegularizationLogger",
    "Resume",
    "Reweight",
    "SCAD",
    "SparseGroupLasso",
    "StochasticDepth",
    "StochasticWeightAveraging",
    "StrengthSchedule",
    "TargetSparsity",
    "TemperatureScaling",
    "TrainingGuard",
    "calibrate",
    "channels",
    "column_features",
    "column_norms",
    "compact",
    "cross_validate",
    "expected_calibration_error",
    "export",
    "lambda_max",
    "mc_predict",
    "plan_compaction",
    "proximal_map",
    "proximal_of",
    "register_prox",
    "read_table",
    "regularization_path",
    "regularize",
    "regularizers_of",
    "remove_regularizers",
    "report",
    "self_check",
    "set_penalty_factors",
    "shrink",
    "sparsity",
    "stability_selection",
    "threshold",
    "verify_saved_model",
]
