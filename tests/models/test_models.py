"""Backbones, heads, dual batch norm, masks, and the reader of checkpoints."""

import math
import pickle

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models import MODELS, build_classifier, build_encoder
from models.batch_norm import DualBatchNorm
from models.mask import apply_masks, compute_masks, get_masks, make_prunable, pruned, set_masks
from models.published import from_published, load_state, select_batch_norm, to_backbone
from models.resnet import IMAGENET_MEAN, IMAGENET_STD
from run.checkpoint import read_checkpoint, write_checkpoint
from tests.reference import relative_error
from utils.errors import InputError

SMALL = {"name": "res20_s", "out": 16, "head_layers": 2}


@pytest.mark.parametrize(
    ("name", "dual_bn"), [*((name, False) for name in MODELS), ("res18", True), ("res50", True), ("res20_s", True)]
)
def test_every_model_runs_and_projects(name, dual_bn):
    encoder = build_encoder(name, 8, 2, prune=dual_bn, dual_bn=dual_bn).eval()
    with torch.no_grad():
        x = torch.rand(2, 3, 8, 8)
        assert encoder(x).shape == (2, 8)
        assert encoder.features(x).shape == (2, encoder.channels)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("res18", "resnet18"),
        ("res50", "resnet50"),
        pytest.param("res34", "resnet34", marks=pytest.mark.slow),
        pytest.param("res50w2", "wide_resnet50_2", marks=pytest.mark.slow),
    ],
)
def test_imagenet_stem_is_torchvisions_network(name, theirs):
    ours, reference = build_classifier(name, 10, stem="imagenet"), getattr(torchvision.models, theirs)(num_classes=10)
    state = {k: v for k, v in ours.state_dict().items() if not k.startswith("normalize")}
    reference.load_state_dict(state, strict=True)
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    normalized = torchvision.transforms.functional.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        expected = reference.double().eval()(normalized)
        # Our mean and deviation are of float32, like the weights.
        assert relative_error(ours.double().eval()(x), expected) < 1e-6


def test_parameter_counts_of_the_papers():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    # He et al., CVPR 2016, table 6: 0.27M and 0.46M with a 10-way classifier.
    assert round(count(build_classifier("res20_s", 10)) / 1e6, 2) == 0.27
    assert round(count(build_classifier("res32_s", 10)) / 1e6, 2) == 0.46
    convolutions = [m for m in build_classifier("res18", 10).modules() if isinstance(m, nn.Conv2d)]
    # The number of prunable weights that SDCLR's masks cover.
    assert sum(m.weight.numel() for m in convolutions) == 11_159_232


def test_head_layers_and_biases():
    for layers in (2, 3):
        head = build_encoder("res20_s", 16, layers).fc
        linear = [m for m in head.modules() if isinstance(m, nn.Linear)]
        assert [m.bias is not None for m in linear] == [True] + [False] * (layers - 1)
        assert [m.out_features for m in linear] == [64] * (layers - 1) + [16]
    with pytest.raises(InputError):
        build_encoder("res20_s", 16, 4)


def test_probe_classifier_starts_as_published():
    torch.manual_seed(0)
    fc = build_classifier("res18", 100).fc
    assert fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not fc.bias.any()


def test_dual_batch_norm_keeps_two_sets_of_statistics():
    encoder = build_encoder(**SMALL, prune=True, dual_bn=True).train()
    with torch.no_grad():
        with pruned(encoder):
            encoder(torch.rand(4, 3, 8, 8))
        layers = [m for m in encoder.modules() if isinstance(m, DualBatchNorm)]
        assert len(layers) == 19 + 2
        assert all(m.bn_list[0].num_batches_tracked == 0 and m.bn_list[1].num_batches_tracked == 1 for m in layers)
        encoder(torch.rand(4, 3, 8, 8))
        assert all(m.bn_list[0].num_batches_tracked == 1 and m.bn_list[1].num_batches_tracked == 1 for m in layers)


def test_model_is_dense_again_after_an_exception_inside():
    encoder = build_encoder(**SMALL, prune=True, dual_bn=True).eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        before = encoder(x)
        set_masks(encoder, compute_masks(encoder, 0.9))
        with pruned(encoder):
            assert not torch.equal(encoder(x), before)
        with pytest.raises(ZeroDivisionError), pruned(encoder):
            raise ZeroDivisionError
        assert torch.equal(encoder(x), before)


def test_pruned_branch_gradient_is_masked():
    encoder = build_encoder(**SMALL, prune=True)
    masks = compute_masks(encoder, 0.8)
    set_masks(encoder, masks)
    with pruned(encoder):
        encoder(torch.rand(4, 3, 8, 8)).square().mean().backward()
    for name, mask in masks.items():
        gradient = encoder.get_submodule(name).weight.grad
        assert not gradient[~mask].any()
        assert gradient[mask].any()


@given(st.floats(0, 0.999), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_mask_drops_the_smallest_weights_of_all_layers_together(fraction, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.Linear(5, 2))
    masks = compute_masks(model, fraction)
    magnitudes = np.concatenate([model[i].weight.detach().abs().numpy().ravel() for i in (0, 2)])
    kept = np.concatenate([masks[i].numpy().ravel() for i in ("0", "2")])
    n = len(magnitudes)
    expected = sorted(magnitudes)[min(math.ceil(fraction * n), n - 1)]
    assert set(masks) == {"0", "2"}
    assert np.array_equal(kept, magnitudes >= expected)


def test_random_part_of_the_mask():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 9), nn.Conv2d(64, 64, 5))
    magnitude = compute_masks(model, 0.5)
    mixed = compute_masks(model, 0.7, 0.2, torch.Generator().manual_seed(3))
    again = compute_masks(model, 0.7, 0.2, torch.Generator().manual_seed(3))
    kept = sum(int(m.sum()) for m in mixed.values()) / sum(m.numel() for m in mixed.values())
    assert kept == pytest.approx(0.3, abs=0.01)
    for name in mixed:
        assert torch.equal(mixed[name], again[name])
        # The random part falls among the survivors of the magnitude part.
        assert not (mixed[name] & ~magnitude[name]).any()


@pytest.mark.parametrize("fractions", [(1.0, 0), (-0.1, 0), (0.5, 0.6), (0.5, -0.1), (float("nan"), 0)])
def test_shares_out_of_range_are_refused(fractions):
    with pytest.raises(InputError):
        compute_masks(nn.Conv2d(1, 1, 3), *fractions)


def test_mask_of_another_model_is_refused():
    with pytest.raises(InputError, match="another model"):
        set_masks(make_prunable(build_classifier("res20_s", 2)), compute_masks(build_classifier("res32_s", 2), 0.5))


def test_masks_are_no_part_of_the_state_dict_and_act_like_pruned_weights():
    prunable = build_encoder(**SMALL, prune=True).eval()
    plain = build_encoder(**SMALL).eval()
    plain.load_state_dict(prunable.state_dict())
    masks = compute_masks(prunable, 0.6)
    set_masks(prunable, masks)
    assert get_masks(prunable).keys() == masks.keys()
    apply_masks(plain, masks)
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad(), pruned(prunable):
        torch.testing.assert_close(prunable(x), plain(x))


def test_one_batch_norm_of_a_dual_checkpoint_gives_that_branch():
    dual = build_encoder(**SMALL, prune=True, dual_bn=True).train()
    with torch.no_grad():
        dual(torch.rand(8, 3, 8, 8))
        with pruned(dual):
            dual(torch.rand(8, 3, 8, 8) * 0.3)
    dual.eval()
    published = {f"module.{k}".replace("downsample.0", "downsample.conv"): v for k, v in dual.state_dict().items()}
    x = torch.rand(2, 3, 8, 8)
    for index in (0, 1):
        single = build_classifier("res20_s", 10).eval()
        load_state(single, to_backbone(published, index), "file", head=False)
        with torch.no_grad():
            if index:
                with pruned(dual):
                    expected = dual.features(x)
            else:
                expected = dual.features(x)
            torch.testing.assert_close(single.features(x), expected)
    with pytest.raises(InputError, match="bnNameCnt"):
        select_batch_norm(from_published(published), -1)


def test_checkpoint_of_another_model_names_a_key():
    state = build_classifier("res32_s", 10).state_dict()
    with pytest.raises(InputError, match=r"FILE is a checkpoint of another model.*layer1\.3"):
        load_state(build_classifier("res20_s", 10), state, "FILE")
    with pytest.raises(InputError, match=r"fc\.bias is \[100\], not \[10\]"):
        load_state(build_classifier("res20_s", 10), build_classifier("res20_s", 100).state_dict(), "FILE")


class Trap:
    """A pickle that creates a file when it is executed."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_checkpoint_is_refused_and_not_executed(tmp_path, zipped):
    file, target = tmp_path / "model.pt", tmp_path / "executed"
    content = {"state_dict": {}, "epoch": Trap(target)}
    if zipped:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="model.pt"):
        read_checkpoint(file)
    assert not target.exists()


def test_damaged_files_are_refused(tmp_path):
    good = tmp_path / "good.pt"
    write_checkpoint(good, {"epoch": 1, "state_dict": {"a": torch.arange(1000.0)}})
    content = good.read_bytes()
    for i, bad in enumerate([b"", b"text", content[:100], content[: len(content) // 2], content[:-1]]):
        file = tmp_path / f"bad{i}.pt"
        file.write_bytes(bad)
        with pytest.raises(InputError, match=file.name):
            read_checkpoint(file)
    for i, other in enumerate([[1, 2], {"epoch": 3}, {"state_dict": 5}, {"state_dict": {"a": "text"}}]):
        file = tmp_path / f"other{i}.pt"
        torch.save(other, file)
        with pytest.raises(InputError, match="not a checkpoint|cannot be read as a checkpoint"):
            read_checkpoint(file)
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pt")


def test_numpy_numbers_in_older_checkpoints_are_read(tmp_path):
    file = tmp_path / "best_model.pt"
    torch.save({"state_dict": {}, "best_prec1": np.float64(71.5), "epoch": np.int64(3)}, file)
    assert read_checkpoint(file)["best_prec1"] == 71.5


def test_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "model.pt"
    write_checkpoint(file, {"state_dict": {"a": torch.ones(2)}})
    with pytest.raises(AttributeError):
        write_checkpoint(file, {"state_dict": lambda: 0})
    assert torch.equal(read_checkpoint(file)["state_dict"]["a"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
