"""The loader of SavedModels in the tests' own process: a second cheaper for each export than one in a process apart."""

import pathlib

from tf_reg.serving.verify import c_api, engine_checks

run_apart, second_is_there = c_api.run_apart, engine_checks.second_is_there
GPU = pathlib.Path("/dev/nvidiactl").exists()  # a process apart runs on the CPU; this one would take the GPU


def run_here(saved_model, runs):
    """Do what `c_api.run_apart` does, by the same session, with Python's TensorFlow beside it."""
    with c_api.Session(saved_model) as session:
        return [session.run(run) for run in runs]
