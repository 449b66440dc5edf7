"""Count zeros, penalties and remaining parameters."""
