"""Image-classification data for the training program."""
