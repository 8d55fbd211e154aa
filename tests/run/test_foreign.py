"""Checkpoints of other programs are called by their names, with what makes one of ours of them; none is damaged."""

import argparse
import contextlib
import gzip
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models import build_encoder
from models.published import from_published, load_state
from run.checkpoint import read_checkpoint
from utils.errors import InputError


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "checkpoint.txt")


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("checkpoint/readme.txt", "x")


FILES = {
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500)), "an HDF5 file"),
    "Git LFS": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "git lfs pull"),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html><html>Virus scan</html>"), "a web page"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "an archive: unpack it"),
    "tar": (tar, "an archive: unpack it"),
    "zip": (archive, "an archive: unpack it"),
    "npy": (lambda path: np.save(path.open("wb"), np.zeros(3)), "a NumPy array"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "an archive of NumPy arrays"),
    "TorchScript": (lambda path: torch.jit.script(nn.Linear(2, 2)).save(str(path)), "torch.jit.load"),
    "ONNX": (lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x051.0.0" + bytes(90)), "an ONNX file"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_of_other_formats_are_named(tmp_path, what):
    write, words = FILES[what]
    write(tmp_path / "model.pt")
    with pytest.raises(InputError) as error:
        read_checkpoint(tmp_path / "model.pt")
    assert words in str(error.value) and "damaged" not in str(error.value) and "\n" not in str(error.value)


def test_what_is_of_no_format_is_damaged(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}}, tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    for content in (b"", b"\0" * 400, whole[: len(whole) // 2], bytes(range(256))):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(InputError, match="truncated or damaged"):
            read_checkpoint(tmp_path / "model.pt")


def test_a_damaged_archive_is_damaged(tmp_path):
    """Bytes of its list of members are changed: a name that is no text, among others."""
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}}, tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    start = whole.index(b"PK\1\2")
    for i in range(start, len(whole)):
        (tmp_path / "model.pt").write_bytes(whole[:i] + b"\xd2" + whole[i + 1 :])
        with contextlib.suppress(InputError):
            read_checkpoint(tmp_path / "model.pt")


def test_safetensors_are_read_and_one_that_is_cut_is_damaged(tmp_path):
    """Whatever its name; cut anywhere, or longer than its header says."""
    path, named = tmp_path / "model.pt", tmp_path / "model.safetensors"
    state = {"conv1.weight": torch.arange(12.0).view(3, 4), "bn1.num_batches_tracked": torch.tensor(7)}
    save_file(state, path, {"format": "pt"})
    found = read_checkpoint(path)["state_dict"]
    assert found.keys() == state.keys() and all(torch.equal(found[k], v) for k, v in state.items())
    whole = path.read_bytes()
    cuts = [whole[:n] for n in (0, 7, 8, 9, 30, len(whole) - 48, len(whole) - 1)]
    for content in (*cuts, whole + b"\0", b"\xff" * 8 + whole[8:]):
        named.write_bytes(content)
        with pytest.raises(InputError, match="model.safetensors is not a checkpoint that can be read: truncated"):
            read_checkpoint(named)


def test_a_command_line_that_was_saved_is_read_and_does_nothing(tmp_path):
    """As SupContrast, DINO and timm save theirs; one that holds itself, or an object, is refused."""
    options = argparse.Namespace(lr=0.1, steps=[1, 2], inner=argparse.Namespace(name="x"))
    torch.save({"state_dict": {"a": torch.ones(1)}, "opt": options}, tmp_path / "model.pt")
    assert read_checkpoint(tmp_path / "model.pt")["opt"] == options
    options.inner.itself = options
    torch.save({"state_dict": {"a": torch.ones(1)}, "opt": options}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="more than 100,000 values"):
        read_checkpoint(tmp_path / "model.pt")
    options.inner = contextlib.nullcontext
    torch.save({"state_dict": {"a": torch.ones(1)}, "opt": options}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="contextlib.nullcontext"):
        read_checkpoint(tmp_path / "model.pt")


W = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
CONTENTS = {
    "VISSL": {"classy_state_dict": {"base_model": {"model": {"trunk": W}}}},
    "DINO": {"student": W, "teacher": W},
    "MoCo": {"state_dict": {f"module.encoder_q.{k}": v for k, v in W.items()}, "arch": "resnet50"},
    "MoCo v3": {"state_dict": {f"module.base_encoder.{k}": v for k, v in W.items()}},
    "SupContrast": {"model": {f"encoder.{k}": v for k, v in W.items()} | {"head.0.bias": torch.ones(1)}, "opt": {}},
    "under 'model'": {"model": {"features.0.weight": torch.ones(1), "classifier.0.weight": torch.ones(1)}},  # VGG
    "solo-learn": {"state_dict": {"backbone.conv1.weight": W["conv1.weight"], "classifier.bias": torch.zeros(3)}},
    "lightly": {"state_dict": {"backbone.0.weight": W["conv1.weight"], "projection_head.layers.0.bias": torch.ones(1)}},
    "vision transformer": {"blocks.0.attn.qkv.weight": torch.zeros(3, 3), "pos_embed": torch.zeros(3)},
    "under 'model_state_dict'": {"model_state_dict": W, "epoch": 3},
    "under 'net'": {"net": W, "acc": 3.0},
}


@pytest.mark.parametrize("library", CONTENTS)
def test_checkpoints_of_other_libraries_are_named(tmp_path, library):
    torch.save(CONTENTS[library], tmp_path / "model.pt")
    with pytest.raises(InputError) as error:
        content = read_checkpoint(tmp_path / "model.pt")
        load_state(build_encoder("res18", 128, 2), from_published(content["state_dict"]), "model.pt")
    message = str(error.value)
    assert library in message and "torch.save({'state_dict': WEIGHTS}, FILE)" in message and "model.pt" in message


def test_what_the_message_advises_is_read(tmp_path):
    encoder = build_encoder("res18", 128, 2)
    ours = {k: v for k, v in encoder.state_dict().items() if not k.startswith(("fc.", "normalize."))}
    torch.save({"state_dict": ours}, tmp_path / "model.pt")
    content = read_checkpoint(tmp_path / "model.pt")
    assert "ImageNet's are taken" in load_state(encoder, from_published(content["state_dict"]), "m", head=False)
