"""Tables as data: frames and files as typed columns, and the layers of Keras that turn columns into features."""
