"""A search for settings, by any number of processes on any number of machines."""
