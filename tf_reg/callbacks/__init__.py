"""What Keras calls while a model trains."""
