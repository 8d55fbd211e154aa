"""What keeps a run from computing on a GPU is one line, as torch.cuda tells it; no GPU is needed here."""

import pytest
import torch

from run.gpu import LEAST, named_gpus, runs_on
from run.world import world_from_environment
from tests.conftest import one_line_error
from tests.run.test_doctor import DOCTOR, lines
from tests.scripts.test_train_scripts import PRETRAIN

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver."
BUSY = (
    "CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors might be asynchronously reported"
)
H100 = (9, 0)


@pytest.fixture
def cuda(monkeypatch):
    """Sets what torch.cuda tells of the machine: GPUs, free bytes of each, and what CUDA answers where it has none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def machine(count=1, free=(2**36, 2**36), capability=H100, kernels=("sm_80", "sm_90"), answer=NO_DRIVER):
        def init():
            if not count:
                raise RuntimeError(answer)

        def memory(device):
            if free[device] < 0:
                raise RuntimeError(BUSY)
            return free[device], 2**37

        told = {
            "is_available": lambda: count > 0,
            "device_count": lambda: count,
            "init": init,
            "get_device_name": lambda device: "NVIDIA Card",
            "get_device_capability": lambda device=0: capability,
            "get_arch_list": lambda: list(kernels),
            "mem_get_info": memory,
        }
        for name, function in told.items():
            monkeypatch.setattr(torch.cuda, name, function)

    return machine


def place(monkeypatch, rank: int, size: int) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", size), ("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", size)):
        monkeypatch.setenv(name, str(value))


def test_a_gpu_is_taken_where_there_is_one(cuda, monkeypatch):
    cuda(2)
    assert world_from_environment().device == torch.device("cuda", 0)
    assert world_from_environment(no_cuda=True).device == torch.device("cpu")
    place(monkeypatch, 1, 2)
    assert world_from_environment().device == torch.device("cuda", 1)


@pytest.mark.parametrize("answer", [NO_DRIVER, "Torch not compiled with CUDA enabled", "No CUDA GPUs are available"])
def test_a_machine_without_a_gpu_computes_on_its_processor(cuda, answer):
    cuda(0, answer=answer)
    assert world_from_environment().device == torch.device("cpu")


@pytest.mark.parametrize("none", ["", "-1", "NoDevFiles"])
def test_nobody_wants_a_gpu(cuda, monkeypatch, none):
    cuda(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
    assert world_from_environment().device == torch.device("cpu")


def test_names_of_gpus():
    assert named_gpus(None) is None
    assert named_gpus("0, 2") == ["0", "2"] and named_gpus("GPU-8932f937") == ["GPU-8932f937"]
    assert named_gpus("1,-1,0") == ["1"]


# The machine, the variable, and the words of the line.
BAD = {
    "an old driver": ({"count": 0, "answer": TOO_OLD}, None, ["too old (found version 11040)", "update the driver"]),
    "a driver that fails": ({"count": 0, "answer": "CUDA unknown error - this may be"}, None, ["CUDA unknown error"]),
    "one that is not there": ({"count": 0, "answer": "No CUDA GPUs are available"}, "7", ["=7 names 1", "has 0"]),
    "no driver, but a name": ({"count": 0}, "0", ["CUDA_VISIBLE_DEVICES=0 names 1", "has 0"]),
    "one of two not there": ({"count": 1}, "0,9", ["=0,9 names 2", "has 1"]),
    "an unknown card": ({"capability": (13, 0)}, None, ["GPU 0, NVIDIA Card", "capability 13.0", "sm_80, sm_90"]),
    "no memory left": ({"free": [LEAST - 1]}, None, ["GPU 0", "of 128.00 GiB free", "another program"]),
    "a busy one": ({"free": [-1]}, None, ["GPU 0 cannot be used", "busy or unavailable"]),
}


@pytest.mark.parametrize(("machine", "variable", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_one_line(call, cuda, monkeypatch, machine, variable, words):
    cuda(**machine)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    told = one_line_error(call("train_simCLR.py", "run", *PRETRAIN), *words, "CUDA_VISIBLE_DEVICES")
    assert "asynchronously" not in told and "Alternatively" not in told


@pytest.mark.parametrize("free", [[2**36, 2**20], [2**36, -1]])
def test_of_two_the_busy_one_is_named_by_the_process_that_has_it(call, cuda, monkeypatch, free):
    cuda(2, free=free)
    place(monkeypatch, 1, 2)
    done = call("train_simCLR.py", "run", *PRETRAIN)
    assert done.returncode == 2 and done.stderr.startswith("error [rank 1]: GPU 1") and done.stderr.count("\n") == 1


def test_which_kernels_run_where():
    assert runs_on((8, 6), ["sm_80"]) and not runs_on((8, 0), ["sm_86"]) and not runs_on((9, 0), ["sm_86"])
    assert runs_on((9, 0), ["sm_90a"]) and not runs_on((9, 1), ["sm_90a"])
    assert runs_on((12, 0), ["sm_80", "compute_90"]) and not runs_on((8, 0), ["compute_90"])
    assert runs_on((10, 3), ["sm_100f"]) and not runs_on((11, 0), ["compute_100f"])
    assert runs_on((12, 1), ["sm_120"]) and not runs_on((12, 1), ["sm_90", "sm_100"])
    assert runs_on((9, 4), ["gfx942"]) and runs_on((9, 0), [])


OOM = "CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity of 79.10 GiB"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError(OOM), ["not enough memory", "20.00 GiB", "79.10"]),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), ["not enough memory"]),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"), ["not enough memory"]),
        (RuntimeError("GET was unable to find an engine to execute this computation"), ["not enough memory"]),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered\nx"), ["the GPU cannot be used", "ECC"]),
        (RuntimeError(BUSY), ["the GPU cannot be used", "busy or unavailable"]),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device\nx"), ["no kernel image"]),
    ],
)
def test_what_comes_later_is_one_line_too(call, monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr("run.compute.Compute.on_device", fail)
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN), *words)


def test_the_doctor_tells_of_each(call, cuda, monkeypatch):
    cuda(0, answer=TOO_OLD)
    found = lines(call(DOCTOR))
    ((level, told),) = found["GPU"]
    assert level == "error" and "too old" in told and found["fp32"][0][0] == "ok"
    cuda(2, free=[-1, -1])
    levels = [level for level, _ in lines(call(DOCTOR))["GPU"]]
    assert levels == ["error", "error"]
