"""What a GPU does with this project and with the published procedure: `python -m benchmarks.gpu`."""
