"""A fast Python for tests: each process is forked from a server that has imported PyTorch, which takes seconds.

`python()` is the path of a program that takes `script ...`, `-m module ...` and `-c code` as python does, with the
caller's folder, environment and standard streams. The project's own modules are imported anew in each process.
WARM_NAMESPACES in the environment is the id of a process whose user, network and UTS namespaces it enters
(tests/hosts.py).
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect({address!r})
    socket.send_fds(s, [b"!"], [0, 1, 2])
    s.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    s.shutdown(socket.SHUT_WR)
    code = int(s.recv(16) or b"-9")
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@functools.cache
def python() -> str:
    """The path of the program; its server starts with the first call and ends with the tests."""
    if sys.platform != "linux":
        return sys.executable
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address, program = f"{folder.name}/socket", Path(folder.name) / "python"
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE, env=_plain(os.environ))
    server.stdout.readline()  # "ready": it accepts connections
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    return str(program)


def free_port() -> int:
    """A free port for distributed processes, below the range from which the system assigns ports to connections."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


def environment(**more: str) -> dict[str, str]:
    """This environment without GPUs, in which recipes and launchers start `python()`."""
    return {**os.environ, "PYTHON": python(), "PYTHON_EXEC": python(), "CUDA_VISIBLE_DEVICES": "", **more}


def spawn(function: Callable, args: tuple, processes: int) -> None:
    """torch.multiprocessing.spawn, but from a fork server that has imported PyTorch."""
    import torch.multiprocessing as mp

    mp.set_forkserver_preload(["torch._dynamo", "torchvision", "hypothesis", "scipy.stats"])
    mp.start_processes(function, args, processes, start_method="forkserver" if sys.platform == "linux" else "spawn")


def enter(process: int) -> None:
    """Enter the user, network and UTS namespaces of a process; only a process with a single thread can."""
    kinds = 0x10000000 | 0x40000000 | 0x04000000  # CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWUTS
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(os.pidfd_open(process), kinds):
        raise OSError(ctypes.get_errno(), "setns")


def _plain(environment: dict[str, str]) -> dict[str, str]:
    """The environment of the server; OMP_NUM_THREADS and PYTHONPATH come with each request instead."""
    kept = {k: v for k, v in environment.items() if k not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    return kept | {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # read when PyTorch is loaded; recipes.launch sets it before that


def serve(address: str) -> None:
    """Serve each client by a process of its own."""
    import cv2  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import torchvision  # noqa: F401

    gc.freeze()  # else a garbage collection in a child would copy all memory pages
    path = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            if os.fork():
                client.close()
                continue
            break
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    try:
        words, folder, environment = json.loads(b"".join(iter(lambda: client.recv(1 << 16), b"")))
    except ValueError:
        os._exit(0)  # the client was killed before it had sent its request
    worker = os.fork()
    if worker:
        _wait(worker, client)
    client.close()
    for i, stream in enumerate(streams):
        os.dup2(stream, i)
        os.close(stream)
    code = _run(words, folder, environment, path)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # quicker than an exit, which tears down PyTorch module by module


def _wait(worker: int, client: socket.socket) -> None:
    """Send the worker's exit code to the client; if the client ends first, kill the worker."""
    hangup, ended = select.poll(), os.pidfd_open(worker)
    hangup.register(client, select.POLLHUP)
    hangup.register(ended, select.POLLIN)
    if all(fd != ended for fd, _ in hangup.poll()):
        os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    try:
        client.sendall(str(code).encode())
    finally:
        os._exit(0)


def _run(words: list[str], folder: str, environment: dict[str, str], path: list[str]) -> int:
    """Run a command line in this process as python would; its exit code."""
    try:
        _become(words, folder, environment, path)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _become(words: list[str], folder: str, environment: dict[str, str], path: list[str]) -> None:
    """Set this process up as a new Python in the folder and environment, and run the command line."""
    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if process := environment.get("WARM_NAMESPACES"):
        enter(int(process))
    if "OMP_NUM_THREADS" in environment:  # which PyTorch has read before
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.path[:] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *path]
    words = [word for i, word in enumerate(words) if word != "-u" or i]
    if words[0] in ("-m", "-c"):
        kind, program, *rest = words
        sys.path.insert(0, folder)
        sys.argv = [kind, *rest]
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(program, {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
