"""What the scripts share: configuration, data, models and training."""
