"""Signals to the shell scripts reach the training, which ends them; and the SLURM job. The programs are stand-ins."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import quick_first

# As the training does it; what starts it notes the signals that it has seen. The recipes themselves are real.
TRAINING = """#!{python}
import os, signal, sys, time
if sys.argv[2] in ("recipes", "recipes.reproduce"):
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
noted = []
def note(number, frame):
    noted.append({{15: 143, 2: 130, 10: 85}}[number])
if "starting" not in os.environ:
    for number in (15, 2, 10):
        signal.signal(number, note)
print("running", flush=True)
deadline = time.time() + 30
while not noted and time.time() < deadline:
    time.sleep(0.02)
time.sleep(0.3)
print("saved", sorted(set(noted)), noted.count(130), flush=True)
sys.exit(noted[0] if "finished" not in os.environ else 0)
"""


def _default_interrupt() -> None:
    """Tests that run in a shell's background ignore SIGINT, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(project_copy, tmp_path):
    """Start a script of cmds/ in a process group of its own, up to the first line of its training."""
    training = tmp_path / "training"
    training.write_text(TRAINING.format(python=sys.executable))
    training.chmod(0o755)

    def started(script: str, *args: str, **env: str) -> subprocess.Popen:
        words = ["bash", str(project_copy / "cmds" / script), *args, "--root", str(tmp_path)]
        process = subprocess.Popen(
            words, env={**os.environ, "PYTHON": str(training), **env}, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=_default_interrupt,
        )  # fmt: skip
        while process.stdout.readline() != "running\n":
            assert process.poll() is None
        time.sleep(0.2)  # bash runs a trap that comes just before its `wait` only after it
        return process

    return started


@pytest.mark.parametrize("script", quick_first(["recipe", "reproduce"]))
@pytest.mark.parametrize(
    ("number", "to_all", "ends", "noted"),
    quick_first([
        (signal.SIGINT, True, -signal.SIGINT, "[130] 1"), (signal.SIGTERM, False, 143, "[143] 0"),
        (signal.SIGUSR1, False, 85, "[85] 0"), (signal.SIGUSR1, True, 85, "[85] 0"),
    ]),
)  # fmt: skip
def test_the_training_saves_and_the_script_ends_as_it_does(start, script, number, to_all, ends, noted):
    """A terminal's Ctrl-C goes to all, and comes to the training once."""
    words = ["shell_scrips/digits-LT.sh"] if script == "recipe" else ["reproduce.sh", "digits", "simclr", "--"]
    process = start(*words)
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.communicate(timeout=30)[0].splitlines() == [f"saved {noted}"]
    assert process.returncode == ends


@pytest.mark.parametrize(
    ("setting", "number", "ends"),
    quick_first(
        [("finished", signal.SIGUSR1, {85}), ("starting", signal.SIGINT, {-2}), ("starting", signal.SIGUSR1, {1})]
    ),
)
def test_a_signal_before_the_training_or_in_its_last_step_ends_the_script_too(start, setting, number, ends):
    process = start("shell_scrips/digits-LT.sh", **{setting: "1"})
    os.killpg(process.pid, number)
    assert "running" not in process.communicate(timeout=20)[0]  # no probe comes after it
    assert process.returncode in ends


@pytest.fixture
def slurm(project_copy, tmp_path):
    """Start the job with stand-ins for SLURM's programs, which note in calls.txt what they are called with."""

    def started(srun: str, *args: str, nodes: int = 1) -> subprocess.Popen:
        for name, body in (("srun", srun), ("scontrol", '[ "$1" = show ] && printf "node1\\nnode2\\n"')):
            (tmp_path / name).write_text(f'#!/bin/bash\necho "{name} $*" >>"{tmp_path}/calls.txt"\n{body}\n')
            (tmp_path / name).chmod(0o755)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURM_GPUS_ON_NODE": "8",
               "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_JOB_NODELIST": "node[1-2]"}  # fmt: skip
        words = ["bash", "cmds/slurm/recipe.sbatch", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, cwd=project_copy, env=os.environ | env, **pipes)

    return started


RECIPE = "imagenet-100-res50-LT.sh"


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_slurm_job_saves_and_requeues_itself(slurm, tmp_path, nodes):
    calls = tmp_path / "calls.txt"
    saving = f'trap "sleep 0.3; echo saved >>{calls}; exit 85" USR1; echo ready >>{calls}; while :; do sleep 0.05; done'
    job = slurm(saving, RECIPE, "--data", "DIR", nodes=nodes)
    deadline = time.time() + 20
    while not (calls.exists() and "ready" in calls.read_text()) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)  # as above
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 0
    meeting = "-n 2 --rdzv node1:20077 " if nodes == 2 else ""
    assert calls.read_text().splitlines()[nodes - 1 :] == [
        "srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task=16 "
        f"cmds/shell_scrips/{RECIPE} --resume True -g 8 {meeting}--data DIR",
        "ready", "saved", "scontrol requeue 77",
    ]  # fmt: skip


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (2, 2), (143, 143), (85, 0), (138, 0)])
def test_the_slurm_job_is_requeued_for_85_alone(slurm, tmp_path, code, ends):
    """138: SIGUSR1 came before the training could note it."""
    assert slurm(f"exit {code}", RECIPE).wait(20) == ends
    assert ("scontrol requeue 77" in (tmp_path / "calls.txt").read_text()) == (code in (85, 138))


def test_the_slurm_job_wants_a_recipe(slurm):
    for bad in ([], ["nonsense.sh"]):
        job = slurm("", *bad)
        assert len(job.communicate(timeout=20)[1].splitlines()) == 1 and job.returncode == 2
