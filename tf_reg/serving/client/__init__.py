"""A client for a running TensorFlow Serving: REST and gRPC, and how fast it answers."""
