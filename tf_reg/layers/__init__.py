"""The dropout layers that Keras lacks."""
