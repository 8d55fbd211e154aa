"""The device of a test: the processor, and the GPU where there is one, in the tests that are marked `gpu`."""

import os

import pytest
import torch

from tests.gpu.places import needs_gpu, on_processor

# Before the first matrix product: older versions of torch read it once, and deterministic tests come after others.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def device(request, monkeypatch) -> torch.device:
    """Scripts that the test calls compute there, too."""
    if request.param == "cpu":
        on_processor(monkeypatch)
    yield torch.device(request.param, *([0] if request.param == "cuda" else []))
    torch.use_deterministic_algorithms(False)
