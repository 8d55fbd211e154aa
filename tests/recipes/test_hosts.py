"""One run on two hosts of tests.hosts: equal to one host's; a host that dies, or is cut off; hosts that do not meet."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.machines import BEAT, SILENCE
from tests.conftest import PROJECT
from tests.hosts import Host, hosts  # noqa: F401 - a fixture
from tests.warm import environment, free_port, python

PORT = 29400
WAIT = 600  # seconds for what takes few, on a busy machine
PLAIN = {"PYTHON": sys.executable, "PYTHON_EXEC": sys.executable}  # not tests.warm's, which signals do not reach
LOST = r"error( \[rank [01]\])?: lost the .+"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(48):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def recipe(photos: Path, root: Path, *more: str) -> list[str]:
    """Three epochs of twelve steps, saved after each step."""
    words = ["bash", PROJECT / "cmds/shell_scrips/folder.sh", "--data", photos, "--root", root, "-w", "0", "-e", "3"]
    words += ["--batch_size", "4", "--model", "res20_s", "--tensorboard", "False", "--save_steps", "1", *more]
    return [str(word) for word in words]


def errors(process: subprocess.Popen) -> list[str]:
    """Lines on standard error of a program that ends by itself."""
    _, said = process.communicate(timeout=WAIT)
    return said.splitlines()


def one_line(process: subprocess.Popen) -> str:
    """The line of a program that ends by itself."""
    lines = errors(process)
    assert len(lines) == 1, lines
    return lines[0]


def weights(root: Path) -> dict[str, torch.Tensor]:
    (path,) = root.glob("checkpoints_photos/*/model_3.pt")
    content = torch.load(path)
    return content["state_dict"] | {f"momentum {k}": v["momentum_buffer"] for k, v in content["optim"]["state"].items()}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory) -> dict[str, torch.Tensor]:
    """What one host ends with, of as many processes."""
    root = tmp_path_factory.mktemp("one")
    words = recipe(photos, root, "-g", "2", "-p", str(free_port()))
    done = subprocess.run(words, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    return weights(root)


def start(pair: tuple[Host, Host], words: list[str], **env: str) -> list[subprocess.Popen]:
    """The same command on both hosts, which meet at the first one."""
    words = [*words, "-n", "2", "--rdzv", f"{pair[0].address}:{PORT}"]
    return [host.start(words, PROJECT, OMP_NUM_THREADS="1", **env) for host in pair]


def wait_for(folder: Path, pattern: str, process: subprocess.Popen) -> None:
    """Return when there is a file of such a name, which the process or one that it starts makes."""
    deadline = time.monotonic() + WAIT
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_step(root: Path, process: subprocess.Popen) -> None:
    """Return when the first step is saved."""
    wait_for(root, "checkpoints_photos/*/model.pt", process)


def both_end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        assert errors(process) == [] and process.returncode == 0


@pytest.mark.slow
def test_two_hosts_train_as_one(hosts, photos, undisturbed, tmp_path):  # noqa: F811
    """Neither knows the other's name, and each one's own name is known to nobody; the second one begins first."""
    both_end(start(hosts[::-1], recipe(photos, tmp_path))[::-1])
    assert same(weights(tmp_path), undisturbed)
    assert len(list(tmp_path.glob("checkpoints_photos/*/model_3.pt"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dead", "env"),
    [(0, {}), pytest.param(1, {}, marks=pytest.mark.slow), pytest.param(0, PLAIN, marks=pytest.mark.slow)],
)
def test_a_host_dies(hosts, photos, undisturbed, tmp_path, dead, env):  # noqa: F811
    """Within an epoch; the first host has the meeting place. Both resume, and end as if nothing had been."""
    words = recipe(photos, tmp_path)
    pair = start(hosts, words, **env)
    wait_for_step(tmp_path, pair[0])
    hosts[dead].kill()
    line = one_line(pair[1 - dead])
    assert re.fullmatch(LOST, line) and pair[1 - dead].returncode == 2
    assert pair[dead].wait(10) != 0
    assert not list(tmp_path.glob("checkpoints_photos/*/model_3.pt"))
    both_end(start(hosts, [*words, "--resume", "True"]))
    assert same(weights(tmp_path), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0, 1])
def test_a_host_is_cut_off(hosts, photos, tmp_path, cut):  # noqa: F811
    """As by a power cut: the network says nothing of it. Each host takes the other one for lost."""
    pair = start(hosts, recipe(photos, tmp_path, "-e", "10000", "--save_steps", "0"))
    wait_for_step(tmp_path, pair[0])
    time.sleep(3 * BEAT)  # so that each has heard of the other, however fast the first step was
    hosts[cut].ip("link", "set", "cable", "down")
    before = time.monotonic()
    for process, other in zip(pair, hosts[::-1], strict=True):
        line = one_line(process)
        told = f"error: lost the other machines: nothing was heard of machine {other.address} for {SILENCE} seconds; "
        assert line.startswith(told) and process.returncode == 2
    assert SILENCE - 10 < time.monotonic() - before < 2 * SILENCE
    deadline = time.monotonic() + 10
    while any(len(host.processes()) > 1 for host in hosts) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert all(len(host.processes()) == 1 for host in hosts)


@pytest.mark.slow
def test_a_whole_recipe(hosts, project_copy, photos, tmp_path):  # noqa: F811
    """Pre-training and probes meet one after the other at the same port."""
    for number, path in enumerate(sorted(photos.iterdir())):
        folder = tmp_path / "photos" / ("first", "second")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    words = recipe(tmp_path / "photos", tmp_path, "--linear_epochs", "1", "--few_shot_epochs", "1", "-e", "1")
    words[1] = words[1].replace(str(PROJECT), str(project_copy))
    both_end(start(hosts, words, **PLAIN))
    found = [
        json.loads(path.read_text())["protocol"] for path in tmp_path.glob("checkpoints_photos_tune/*/results.json")
    ]
    assert sorted(found) == ["sdclr-fewshot", "sdclr-linear"]


SRUN = """while [[ $1 == --* ]]; do shift; done
{first} "$@" & a=$!
{second} "$@" & b=$!
trap 'kill -USR1 "$a" "$b"' USR1
for task in "$a" "$b"; do while kill -0 "$task"; do wait "$task"; done; done 2>/dev/null
wait "$a"; first=$?
wait "$b"; second=$?
exit $((first > second ? first : second))"""


@pytest.mark.slow
def test_a_slurm_job_on_two_hosts_is_put_back_and_goes_on(hosts, photos, undisturbed, tmp_path):  # noqa: F811
    """srun's stand-in starts the recipe on both hosts and hands on the job's signal, as SLURM does."""
    first, second = (shlex.join(host.entry) for host in hosts)
    scontrol = f'[ "$1" = show ] && printf "{hosts[0].address}\n{hosts[1].address}\n" || echo "$*" >>"$0.txt"'
    for name, body in (("srun", SRUN.format(first=first, second=second)), ("scontrol", scontrol)):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = environment(**PLAIN, OMP_NUM_THREADS="1", PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_ID="77")
    env |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "host[1-2]"}
    words = ["bash", "cmds/slurm/recipe.sbatch", "folder.sh", *recipe(photos, tmp_path)[2:]]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(words, cwd=PROJECT, env=env, **pipes)
    wait_for_step(tmp_path, job)
    job.send_signal(signal.SIGUSR1)
    line = one_line(job)
    assert line.startswith("interrupted: saved after epoch ") and job.returncode == 0
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 77\n"
    assert not list(tmp_path.glob("checkpoints_photos/*/model_3.pt"))
    job = subprocess.Popen(words, cwd=PROJECT, env=env, **pipes)
    assert errors(job) == [] and job.returncode == 0
    assert same(weights(tmp_path), undisturbed)
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 77\n"


def launch(endpoint: str, *more: str) -> list[str]:
    """A program that needs no peer, at the end of a meeting of two."""
    words = ["-m", "recipes.launch", "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", "--rdzv_id=test"]
    return [python(), *words, f"--rdzv_endpoint={endpoint}", "--rdzv_conf=join_timeout=2", *more, "tests/trees.py"]


def refused(host: Host, words: list[str], *said: str) -> None:
    """The program ends with exit code 2 and one line, within the time it was told and what it takes to start."""
    process = host.start(words, PROJECT)
    line = one_line(process)
    assert process.returncode == 2 and line.startswith("error: ") and all(word in line for word in said), line


def listen(host: Host) -> None:
    """A program that takes the port, and says nothing."""
    code = f"import socket, time; s = socket.create_server(('', {PORT})); print('ready', flush=True); time.sleep(600)"
    assert host.start([python(), "-c", code], PROJECT).stdout.readline() == "ready\n"


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("no.such.machine.invalid:29400", "no.such.machine.invalid is not known here"),
        ("10.99.0.1:29400", "no way leads there"),
        ("10.77.9.1:port", "no HOST:PORT"),
    ],
)
def test_a_wrong_meeting_place_is_one_line_at_once(hosts, endpoint, said):  # noqa: F811
    refused(hosts[1], launch(endpoint), said, endpoint)


@pytest.mark.slow
def test_a_host_that_is_alone_is_one_line_after_the_time_to_meet(hosts):  # noqa: F811
    place = f"{hosts[0].address}:{PORT}"
    refused(hosts[0], launch(place), f"did not meet at {place} within 2 seconds")
    refused(hosts[1], launch(place), f"nothing answered at {place} within 2 seconds (Connection refused)")
    refused(hosts[1], launch(f"{hosts[1].address}8:{PORT}"), f"nothing answered at {hosts[1].address}8:{PORT}")


@pytest.mark.slow
def test_a_firewalled_port_is_one_line_after_the_time_to_meet(hosts):  # noqa: F811
    """What goes from the first host to the second one is dropped, with no word to the sender."""
    place = f"{hosts[0].address}:{PORT}"
    listen(hosts[0])
    hosts[0].ip("route", "add", "blackhole", hosts[1].address)
    refused(hosts[1], launch(place), f"nothing answered at {place} within 2 seconds (timed out)", "firewall")


@pytest.mark.slow
def test_a_port_of_another_program_is_one_line_after_the_time_to_meet(hosts):  # noqa: F811
    listen(hosts[0])
    place = f"{hosts[0].address}:{PORT}"
    refused(hosts[1], launch(place), place)
    refused(hosts[0], launch(place), place)


@pytest.mark.slow
def test_a_third_host_is_one_line_and_disturbs_nobody(hosts, tmp_path):  # noqa: F811
    """It finds the run complete; torchrun alone would let it wait without end."""
    script = tmp_path / "waits.py"
    lines = ["import os, pathlib, sys, time", "folder = pathlib.Path(sys.path[0])"]
    lines += ["(folder / ('is_' + os.environ['RANK'])).touch()", "while not (folder / 'end').exists(): time.sleep(0.1)"]
    script.write_text("\n".join(lines))
    place = f"{hosts[0].address}:{PORT}"
    pair = [host.start([*launch(place, "--rdzv_conf=join_timeout=600")[:-1], script], PROJECT) for host in hosts]
    for rank in (0, 1):
        wait_for(tmp_path, f"is_{rank}", pair[rank])
    refused(hosts[1], launch(place), f"did not meet at {place} within 2 seconds")
    (tmp_path / "end").touch()
    both_end(pair)
