"""How long the program takes from the command to the first training step; benchmarks/run.py measures it."""

import math
import subprocess
import sys
import tempfile
import time

from benchmarks.compare import Step
from utils.files import PROJECT


def first_step() -> Step:
    """A training on digits; the step returns the seconds from the command to the line of the first step."""
    options = "--dataset digits --model res20_s --batch_size 128 --optimizer sgd --epochs 1 --print_freq 1"
    lists = ["--trainSplit", "digits_imbSub_with_subsets/digits_split1_D_i.npy"]

    def step() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "train_simCLR.py", "first", "--save-dir", folder, *options.split(), *lists]
            start, seconds = time.perf_counter(), math.nan
            with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    if line.startswith("Epoch: [1][0/"):
                        seconds = time.perf_counter() - start
                        break
                process.stdout.read()
            if process.returncode or math.isnan(seconds):
                raise RuntimeError(f"no first step: exit code {process.returncode} of {' '.join(command)}")
            return seconds

    return step
