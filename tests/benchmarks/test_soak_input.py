"""Bad input: names, files, lists, images, results. It is refused in one line, and executes and overwrites nothing."""

import gzip
import json
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.read import read_log, read_result
from benchmarks.soak import input
from benchmarks.soak.files import npy_header, png
from data.pillow import read_image
from data.sets.memory import load
from data.sets.registry import data_set
from recipes.pretrained import recorded
from split.counts import class_counts
from split.lists import origin, read_npy
from tests.conftest import one_line_error
from tests.scripts.test_train_scripts import PRETRAIN, PROBE
from utils.errors import InputError, run_main
from utils.files import read_file
from utils.text import one_line


@pytest.mark.slow
def test_generated_bad_input(call, tmp_path):
    """Forty of the soak test's cases, two or three of each kind."""
    done = call("benchmarks/soak/input.py", "--cases", 40, "--seed", 2, "--out", "soak.json")
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = [case["verdict"] for case in json.loads((tmp_path / "soak.json").read_text())["cases"]]
    assert verdicts.count("bad") == 40 and set(verdicts) <= {"bad", "valid"}


@pytest.mark.slow
def test_the_soak_test_reports_what_is_wrong(tmp_path, monkeypatch):
    """Commands of a project that misbehave fail it."""
    misbehaving = {
        "import pathlib; pathlib.Path('../x').touch()": "wrote a/x",
        "import pathlib, sys; pathlib.Path('.lock').touch(); sys.exit('error: x')": "exit code 1; left a/b/.lock",
        "import sys; print('error: a\\nb', file=sys.stderr); sys.exit(2)": "not one printable line",
        "raise KeyError": "traceback",
        "import sys; print('error: a', file=sys.stderr); sys.exit(2)": "bad",
        "while True: pass": "ran longer",
    }
    pool = input.Pool(tmp_path, tmp_path, "", tmp_path)
    monkeypatch.setitem(input.KINDS, "misbehaving", lambda rng, folder, pool: ["misbehaving.py"])
    for code, verdict in misbehaving.items():
        (tmp_path / "misbehaving.py").write_text(code)
        monkeypatch.setattr(input, "SECONDS", 2 if "while" in code else 60)
        assert verdict in input.one_case(pool, 0, 0, ["misbehaving"], tmp_path).verdict


# ---- names and words


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ".", "..", "a\x1bb", "a\udcff", "x" * 256, "a\nb"])
@pytest.mark.parametrize("script", ["train_simCLR.py", "train_cifar.py"])
def test_names_that_lead_out(call, tmp_path, name, script):
    base = PRETRAIN if "simCLR" in script else PROBE
    one_line_error(call(script, name, *base, "--epochs", "1"))
    assert not list(tmp_path.iterdir())


def test_messages_steer_no_terminal():
    assert one_line("a\x1b[2J\n b\udcff é\u202e\x9b") == "a\\x1b[2J b\\udcff é\\u202e\\x9b"
    assert str(InputError("no\x1b/x")) == "no\\x1b/x"


@pytest.mark.slow
def test_names_that_are_no_text_can_be_printed(script, tmp_path):
    code = "from utils.errors import run_main; run_main(lambda: print('a\\udcff'))"
    done = script("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\\udcff\n", "")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_no_memory_is_one_line(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run_main(main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: not enough memory")


def test_projections_larger_than_memory(call, tmp_path):
    one_line_error(call("train_simCLR.py", "run", *PRETRAIN, "--output_ch", 2**32 - 1), "--output_ch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [[], ["--nonsense"], ["--nproc_per_node=1", "no.py"], ["--nproc_per_node=x", "x.py"]])
def test_the_launcher_has_one_line(script, tmp_path, words):
    (tmp_path / "x.py").write_text("")
    one_line_error(script("-m", "recipes.launch", *words))


def test_a_power_law_that_overflows():
    with pytest.raises(InputError, match="alpha 1e-300"):
        class_counts(10, 100, 10, "pareto", 1e-300)


# ---- files that never end, or are too large


@pytest.fixture
def pipe(tmp_path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_what_is_no_plain_file(pipe, tmp_path):
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="no plain file"):
            read_file(path, 100)
        with pytest.raises(InputError, match="not a readable"):
            read_npy(path)
        with pytest.raises(OSError, match="no plain file"):
            read_image(path)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_file(tmp_path / "sparse", 100)
    with pytest.raises(InputError, match="not a readable"):
        read_npy(tmp_path / "sparse")


# ---- lists and data sets


@pytest.mark.parametrize("header", ["{'a': (", "{1: 2, 'a': 3}", "-" * 9000 + "1", "(" * 5000, "'''", "{'descr': 'O'}"])
def test_headers_that_numpy_stumbles_over(tmp_path, header):
    (tmp_path / "list.npy").write_bytes(npy_header(header))
    with pytest.raises(InputError, match="not a readable .npy"):
        read_npy(tmp_path / "list.npy")


def test_headers_of_old_files_do_not_warn(tmp_path, recwarn):
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2L,), }"
    (tmp_path / "list.npy").write_bytes(npy_header(header, np.arange(2).tobytes()))
    assert read_npy(tmp_path / "list.npy")[0].tolist() == [0, 1]
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(1,) * 99, (0,) * 200, (2**31, 2**31)])
def test_idx_files_of_odd_shapes(tmp_path, shape):
    content = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + b"\0"
    for part in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{part}-ubyte").write_bytes(content)
    with pytest.raises(InputError, match="not a complete idx file"):
        load(data_set("fashion_mnist"), str(tmp_path), train=True)


def test_a_gzip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("data.sets.fashion_mnist.LARGEST_IDX", 10**6)
    content = b"\0\0\x08\x03" + struct.pack(">III", 60000, 28, 28) + bytes(60000 * 784)
    for part in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{part}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    with pytest.raises(InputError, match="not a complete idx file"):
        load(data_set("fashion_mnist"), str(tmp_path), train=True)


# ---- images


@pytest.mark.parametrize(
    "content",
    {
        "100,000 x 100,000": png(100_000, 100_000, b""),
        "144 million black pixels": png(12_000, 12_000),
        "91 million": png(9_600, 9_500),
        "narrow": png(20_000, 1),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    }.values(),
)  # fmt: skip
def test_image_bombs(tmp_path, recwarn, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(Exception, match="bomb|narrow|none of JPEG"):
        read_image(tmp_path / "a.jpg")
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_that_are_read(tmp_path, kind):
    pixels = np.random.RandomState(0).randint(0, 256, (9, 17, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", kind)
    decoded = np.array(read_image(tmp_path / "a.jpg"))
    assert np.array_equal(decoded, np.array(Image.open(tmp_path / "a.jpg")))
    (tmp_path / "wide.jpg").write_bytes(png(200, 1))
    assert read_image(tmp_path / "wide.jpg").size == (200, 1)


# ---- results and ledgers


@pytest.mark.parametrize("content", ["[" * 100_000, '{"per_class": ' + "[" * 99_999, "9" * 5000, '"\ud800"'])
def test_results_that_json_stumbles_over(tmp_path, content):
    (tmp_path / "results.json").write_text(content, errors="surrogatepass")
    with pytest.raises(InputError, match="damaged"):
        read_result(tmp_path, "sdclr-linear", 10)


def test_a_pipe_for_a_result(tmp_path):
    os.mkfifo(tmp_path / "results.json")
    assert read_result(tmp_path, "sdclr-linear", 10) is None
    os.mkfifo(tmp_path / "log.txt")
    assert read_log(tmp_path / "log.txt", 10) is None


@pytest.mark.parametrize("word", ["nan", "inf", "-3", "1e999", "101", "²"])
def test_logs_with_accuracies_that_are_none(tmp_path, word):
    (tmp_path / "log.txt").write_text(f"Each class acc is 50 {word}\nOn the best_model, test tacc is 1\n")
    with pytest.raises(InputError, match="2 accuracies"):
        read_log(tmp_path / "log.txt", 2)


def test_a_log_that_takes_quadratic_time(call, tmp_path):
    """exp_analyse searches for a bracket that is never closed."""
    name = "res18_scheduling_sgd_epoch1_digits_split1_D_i_newNT_s1"
    probe = tmp_path / "checkpoints_digits_tune" / f"{name}__f2layer4_d10d20_wd0_lr30_freezeBN"
    probe.mkdir(parents=True)
    (probe / "log.txt").write_text(f"Each class acc is {'50 ' * 10}\nOn the best_model, test tacc is 50\n")
    log = tmp_path / "checkpoints_digits" / name / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("class distribution in training set is [1, " * 100_000)
    one_line_error(call("exp_analyse.py", "--dataset", "digits", "--LT"), "class sizes", str(log.relative_to(tmp_path)))


@pytest.mark.parametrize("line", ["sdclr-cifar10", "sdclr-cifar10\tx", "a\tb\tc\td\te", "\t\t", ""])
def test_ledgers_with_bad_lines(tmp_path, line):
    (tmp_path / "pretrained.tsv").write_text(f"good\t1\t2\t3\n{line}\n")
    assert recorded(tmp_path) == {"good": ["1", "2", "3"]}


def test_the_ledger_of_generated_lists_may_be_junk(ledger):
    ledger.write_bytes(b"\xff\xfe\n" + random.Random(0).randbytes(99))
    assert origin("0" * 40) == ("own", "")


@pytest.mark.slow
def test_the_soak_starts_its_bad_input(script):
    done = script("-m", "benchmarks.soak", "--quick", "--only", "input")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 of 50 bad command lines" in done.stdout
