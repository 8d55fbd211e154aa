"""How a run computes: precision, memory format, allocator, and the switches of the libraries."""

import contextlib
import os

import torch

from run.flags import PRECISIONS, Precision
from run.processor import processor_flags
from run.versions import distributed
from utils.allocator import keep_memory
from utils.distributed import World

BF16_FLAGS = {"avx512_bf16", "amx_tile"}  # a processor with either one multiplies bfloat16 matrices natively
DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices natively rather than by conversion to float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(BF16_FLAGS & processor_flags())


class Compute:
    """A run's precision, backward pass and optimizer step.

    Args:
        how: settings of the command line. device: the run's.

    `precision` is fp32, bf16 or fp16, `dtype` its type; `stream` is the CUDA stream that data is copied on. Under
    `autocast`, convolutions and linear layers compute in the precision; weights, batch-norm statistics and optimizer
    state stay float32.
    """

    def __init__(self, how: Precision, device: torch.device) -> None:
        automatic = "bf16" if has_bf16(device) else "fp32"
        self.device, self.precision = device, automatic if how.precision == "auto" else how.precision
        self.dtype, self.memory_format = DTYPES[self.precision], getattr(torch, how.memory_format)
        # Without scaling, small gradients underflow in fp16.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.stream = None
        if device.type == "cpu":
            keep_memory()
        if how.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
        torch.use_deterministic_algorithms(how.deterministic)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            self.stream = torch.cuda.Stream(device)
            torch.backends.cudnn.allow_tf32 = how.tf32  # convolutions only: matrix products and the loss stay float32,
            torch.backends.cuda.matmul.allow_tf32 = False  # also where NVIDIA's images set another default
            torch.backends.cudnn.benchmark = not how.deterministic

    def __str__(self) -> str:
        return f"precision {self.precision}, {str(self.memory_format).removeprefix('torch.')}"

    @property
    def placement(self) -> tuple[torch.dtype, torch.memory_format, torch.device]:
        """Type, memory format and device of a network for inference (models.frozen.frozen_backbone)."""
        return self.dtype, self.memory_format, self.device

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context in which the network computes in the run's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.precision != "fp32")

    def backward(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Leave in .grad the gradient of this scalar loss alone; in fp16 it is multiplied by the scaler's scale."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer, measure: bool = False) -> torch.Tensor | None:
        """One optimizer step with the gradient that `backward` left. Only LARS in fp16 waits for the device.

        Returns:
            With `measure`, the gradient's Euclidean norm over all weights, a scalar; else None.
        """
        norm = None
        if measure:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            scaled_norm = torch.nn.utils.get_total_norm(gradients)
            norm = scaled_norm / self.scaler.scale(torch.ones_like(scaled_norm))
        self.scaler.step(optimizer)
        self.scaler.update()
        return norm

    def on_device(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on the device, in the run's memory format: the fast convolution kernels read channels-last."""
        return module.to(self.device, memory_format=self.memory_format)

    def distributed(self, module: torch.nn.Module, world: World, same: bool = True) -> torch.nn.Module:
        """The module under DistributedDataParallel where there are several processes, else the module itself.

        Args:
            same: whether every step uses the same parameters (static_graph); else each step looks for unused ones.
        """
        if world.size == 1:
            return module
        # No buffer needs sending: batch statistics are synchronised or per process, and masks are equal everywhere.
        # With gradient_as_bucket_view, gradients live in the buckets that are sent, which saves a copy.
        return distributed(module, gradient_as_bucket_view=True, static_graph=same, find_unused_parameters=not same)
