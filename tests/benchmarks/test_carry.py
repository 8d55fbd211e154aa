"""What a run on another machine continues from: all of a checkpoint but the momentum; damaged packets."""

import pytest
import torch

from benchmarks.study.carry import momentum_anew, pack, seconds_before, unpack
from run.checkpoint import read_checkpoint, write_checkpoint
from utils.errors import InputError


def checkpoint(folder, epoch: int, name: str = "model.pt") -> dict:
    """Write a checkpoint with momentum; returns its content."""
    weights = {"weight": torch.arange(12.0).reshape(3, 4)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3, 4)}}, "param_groups": [{"lr": 0.5, "params": [0]}]}
    content = {"epoch": epoch, "state_dict": weights, "optim": optimizer, "random": [1, 2]}
    write_checkpoint(folder / name, content)
    return content


def test_weights_are_carried_in_parts_and_momentum_is_not(tmp_path):
    here, there, packet = tmp_path / "here/run", tmp_path / "there/run", tmp_path / "packet"
    content = checkpoint(here, 5)
    (here / "metrics.jsonl").write_text('{"epoch": 5}\n')
    assert pack(here, packet, [2], 12.25, part=500) and momentum_anew(packet) == [2, 5]
    assert seconds_before(packet) == 12.2 and seconds_before(tmp_path / "none") == 0
    parts = sorted(packet.glob("weights-*"))
    assert len(parts) > 2 and all(path.stat().st_size <= 500 for path in parts)
    assert unpack(packet, there)
    carried = read_checkpoint(there / "model.pt")
    assert torch.equal(carried["state_dict"]["weight"], content["state_dict"]["weight"])
    assert carried["random"] == [1, 2] and carried["optim"] == content["optim"] | {"state": {}}
    assert (there / "metrics.jsonl").read_text() == '{"epoch": 5}\n'
    # A checkpoint that is already there is kept; without a packet or a checkpoint nothing happens.
    assert not unpack(packet, there) and momentum_anew(tmp_path / "none") == []
    assert not unpack(tmp_path / "none", there) and not pack(tmp_path / "none", tmp_path / "p", [])
    # A new packet replaces the old one.
    checkpoint(here, 6)
    assert pack(here, packet, [2]) and momentum_anew(packet) == [2, 6]
    assert len(list(packet.glob("weights-*"))) == 1 and unpack(packet, tmp_path / "third")
    # If the newest checkpoint cannot be used, the previous one is carried.
    (here / "model.pt").rename(here / "model.previous.pt")
    assert pack(here, packet, []) and unpack(packet, tmp_path / "fourth/run")
    assert read_checkpoint(tmp_path / "fourth/run/model.pt")["epoch"] == 6


def test_a_damaged_packet_is_one_line(tmp_path):
    checkpoint(tmp_path / "here", 5)
    pack(tmp_path / "here", tmp_path / "packet", [], part=500)
    manifest = tmp_path / "packet/run.json"
    whole = manifest.read_text()
    damaged = [
        whole[:40],
        "[]",
        whole.replace('"model.pt"', '"../model.pt"'),
        whole.replace('"epoch": 5', '"epoch": "5"'),
    ]
    for text in [*damaged, whole.replace('"file"', '"fill"')]:
        manifest.write_text(text)
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            unpack(tmp_path / "packet", tmp_path / "there")
    manifest.write_text(whole)
    sorted((tmp_path / "packet").glob("weights-*"))[1].unlink()
    with pytest.raises(InputError, match="not all"):
        unpack(tmp_path / "packet", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_whole_pretraining_is_carried_by_the_name_that_probes_load(tmp_path):
    here = tmp_path / "here"
    for name in ("model.pt", "model_6.pt"):
        checkpoint(here, 6, name)
    assert pack(here, tmp_path / "packet", []) and unpack(tmp_path / "packet", tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["model_6.pt"]
    # A checkpoint within the next epoch does not have the weights of epoch 6.
    write_checkpoint(here / "model.pt", checkpoint(here, 6, "model_6.pt") | {"within": {"steps": 1}})
    assert pack(here, tmp_path / "packet", []) and unpack(tmp_path / "packet", tmp_path / "later")
    assert [path.name for path in (tmp_path / "later").iterdir()] == ["model.pt"]
