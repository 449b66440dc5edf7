"""How sure a model is: Monte-Carlo dropout and calibration."""
