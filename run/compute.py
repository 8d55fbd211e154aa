"""How a run computes: precision, memory allocator, library switches; the numbers stay what they are."""

import contextlib
import os

import torch

from run.flags import PRECISIONS, Precision
from run.processor import processor_flags
from run.versions import distributed
from utils.allocator import keep_memory
from utils.distributed import World

BF16_FLAGS = {"avx512_bf16", "amx_tile"}  # either of them multiplies bfloat16
DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices itself, rather than by way of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(BF16_FLAGS & processor_flags())


class Compute:
    """A run's precision and its update step.

    Args:
        how: of the command line. device: the run's.

    `precision` is fp32, bf16 or fp16, `dtype` its type; `stream` is CUDA's for data. Under `autocast`, convolutions and
    linear layers take the precision; weights, batch-norm statistics and optimizer state stay float32.
    """

    def __init__(self, how: Precision, device: torch.device) -> None:
        automatic = "bf16" if has_bf16(device) else "fp32"
        self.device, self.precision = device, automatic if how.precision == "auto" else how.precision
        self.dtype, self.memory_format = DTYPES[self.precision], getattr(torch, how.memory_format)
        # Gradients of fp16 fall below its smallest number unless they are scaled up.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.stream = None
        if device.type == "cpu":
            keep_memory()
        if how.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(how.deterministic)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            self.stream = torch.cuda.Stream(device)
            torch.backends.cudnn.allow_tf32 = how.tf32  # matrix products, so the loss, never take it
            torch.backends.cudnn.benchmark = not how.deterministic

    def __str__(self) -> str:
        return f"precision {self.precision}, {str(self.memory_format).removeprefix('torch.')}"

    @property
    def placement(self) -> tuple[torch.dtype, torch.memory_format, torch.device]:
        """Type, memory format and device of a network that only infers (models.frozen.frozen_backbone)."""
        return self.dtype, self.memory_format, self.device

    def autocast(self) -> contextlib.AbstractContextManager:
        """Inside, the network computes in the run's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.precision != "fp32")

    def backward(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Leave in .grad the gradient of a scalar loss alone; in fp16 times the run's scale."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer, measure: bool = False) -> torch.Tensor | None:
        """One step down the gradient that `backward` left; nothing waits for the device but LARS in fp16.

        Returns:
            The gradient's Euclidean norm over all weights, a scalar, where it is to be measured.
        """
        norm = None
        if measure:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            norm = norm / self.scaler.scale(torch.ones_like(norm))
        self.scaler.step(optimizer)
        self.scaler.update()
        return norm

    def on_device(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on the device, its convolutions in the run's memory format: fast kernels read channels-last."""
        return module.to(self.device, memory_format=self.memory_format)

    def distributed(self, module: torch.nn.Module, world: World, same: bool = True) -> torch.nn.Module:
        """The module under DistributedDataParallel where there are several processes.

        Gradients live in the buffers that are sent.

        Args:
            same: whether the same layers run at each step (static graph); else they are looked for at each.
        """
        if world.size == 1:
            return module
        # Statistics are synchronised or per process, and masks are equal everywhere: no buffer needs sending.
        return distributed(module, gradient_as_bucket_view=True, static_graph=same, find_unused_parameters=not same)
