"""Measurements on a GPU of this project and of the published procedure: `python -m benchmarks.gpu`."""
