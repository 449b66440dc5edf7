"""Write a Keras model as a version that TensorFlow Serving loads."""
