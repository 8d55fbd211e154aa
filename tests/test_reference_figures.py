"""The product gives the published procedure's numbers: models, both branches, masks, loss, gradients, short trainings.

Weights are loaded through the reader of the authors' checkpoints, from files that `torch.save` wrote. The reference
figures were computed in float32, ours are in float64, where the order of sums on a processor does not matter: the
tolerances cover the rounding of the figures.
"""

import copy
import hashlib
import importlib

import numpy as np
import pytest
import torch

from methods.sdclr import SDCLR
from methods.simclr import SimCLR, nt_xent
from models import build_encoder
from models.mask import compute_masks, pruned, set_masks
from models.published import from_published, load_state
from run.checkpoint import read_checkpoint
from run.optim import build_optimizer
from run.schedule import pretrain_lr
from tests.conftest import slow_but
from tests.oracles import nt_xent_with_mask
from tests.reference import arrays, figures, images_of, relative_error, state_of

CASES = ["res18", "res32_s", "res50_imagenet"]
SMALL_FIRST = [*CASES[:2], pytest.param(CASES[2], marks=pytest.mark.slow)]
# In training mode, res50's last batch norms divide by the deviation of few values, which amplifies rounding.
OF_TRAINING = {"res18": 1e-4, "res32_s": 1e-4, "res50_imagenet": 1e-3}


def encoder_of(name: str, sdclr: bool) -> torch.nn.Module:
    """The encoder of a case, with the published projection head."""
    model, _, stem = name.partition("_imagenet")
    stem = "imagenet" if name.endswith("imagenet") else "cifar"
    return build_encoder(model, 128, 3 if sdclr else 2, stem, prune=sdclr, dual_bn=sdclr)


def load_as_published(encoder: torch.nn.Module, case: dict, folder) -> None:
    """Load a case's weights from a checkpoint in the authors' format."""
    file = folder / "model_2000.pt"
    torch.save({"epoch": 2000, "state_dict": state_of(case), "optim": {}}, file)
    load_state(encoder, from_published(read_checkpoint(file)["state_dict"]), str(file))


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_simclr_features_and_projections(name, tmp_path):
    case, expected = figures()[f"simclr_{name}"], arrays(f"simclr_{name}")
    encoder = encoder_of(name, sdclr=False)
    load_as_published(encoder, case, tmp_path)
    images = images_of(case["image_seed"], case["images"])
    with torch.no_grad():
        encoder.eval()
        assert relative_error(encoder.features(images), expected["features"]) < 1e-4  # also in float32
        encoder, images = encoder.double(), images.double()
        assert relative_error(encoder.features(images), expected["features"]) < 1e-5
        assert relative_error(encoder(images), expected["projection"]) < 1e-5
        assert relative_error(encoder.train()(images), expected["projection_train"]) < OF_TRAINING[name]


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_sdclr_branches_and_masks(name, tmp_path):
    case, expected = figures()[f"sdclr_{name}"], arrays(f"sdclr_{name}")
    encoder = encoder_of(name, sdclr=True)
    load_as_published(encoder, case, tmp_path)
    masks = compute_masks(encoder, case["prune_percent"])
    published = {k.replace("downsample.conv", "downsample.0"): v for k, v in case["mask"].items()}
    assert masks.keys() == published.keys()
    for layer, (kept, digest) in published.items():
        bits = np.packbits(masks[layer].numpy().ravel())
        assert int(masks[layer].sum()) == kept
        assert hashlib.sha256(bits.tobytes()).hexdigest() == digest
    density = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    assert density == pytest.approx(case["density"], abs=1e-7)  # the reference is a float32 sum
    set_masks(encoder, masks)
    images = images_of(case["image_seed"], case["images"])
    with torch.no_grad():
        # Evaluation mode first: a forward in training mode updates the running statistics.
        assert relative_error(encoder.eval()(images), expected["target/projection"]) < 1e-4  # also in float32
        encoder, images = encoder.double(), images.double()
        for key, tolerance in (("projection", 1e-5), ("projection_train", OF_TRAINING[name])):
            encoder.train(key == "projection_train")
            assert relative_error(encoder(images), expected[f"target/{key}"]) < tolerance
            with pruned(encoder):
                assert relative_error(encoder(images), expected[f"pruned/{key}"]) < tolerance


@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_nt_xent_and_its_gradients(temperature):
    expected = arrays(f"nt_xent/t{temperature}")
    view1, view2 = expected["view1"].requires_grad_(), expected["view2"].requires_grad_()
    loss = nt_xent(view1, view2, temperature).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"].item(), rel=1e-4)
    assert relative_error(view1.grad, expected["grad1"]) < 1e-4
    assert relative_error(view2.grad, expected["grad2"]) < 1e-4


# Each step of a training amplifies the rounding of the step before: the figures' losses differ from those in float64 by
# 1e-6, 1e-4 and, from the third step on, a few percent.
OF_LOSS = (1e-5, 1e-4, 0.1, 0.1)


@pytest.mark.parametrize("kind", slow_but("simclr", ["simclr", "sdclr"]))
def test_four_training_steps(kind, tmp_path, monkeypatch):
    """Our models, masks, loss and schedule give the published training's losses, learning rates and final norms.

    Before each of the four steps, the published form of the loss has the same value and gradient as ours, and each
    optimizer step equals its formula.
    """
    all_figures = figures()
    case = all_figures[f"train_{kind}_res32_s"]
    encoder = encoder_of("res32_s", kind == "sdclr")
    load_as_published(encoder, all_figures[f"{kind}_res32_s"], tmp_path)
    t, decay = case["temperature"], case["weight_decay"]
    method = SDCLR(encoder, t, case["prune_percent"]) if kind == "sdclr" else SimCLR(encoder, t)
    method = method.double().train()
    optimizer = build_optimizer("sgd", method.parameters(), case["lr"], decay)
    module = importlib.import_module(f"methods.{kind}")
    method.start_epoch(1)
    start, velocity = parameters(method), 0
    for step in range(case["steps"]):
        lr = pretrain_lr(step, case["total_steps"], case["warmup_steps"], case["lr"])
        assert lr == pytest.approx(case["lrs"][step], rel=1e-9)
        optimizer.param_groups[0]["lr"] = lr
        views = images_of(case["image_seed"] + step, [2 * case["batch"], 3, case["size"], case["size"]])
        views, index = views.unflatten(0, (-1, 2)), torch.arange(case["batch"])
        if step == 0:  # in float32, where rounding changes the sign of some inputs of ReLUs
            single, single_gradient = loss_and_gradient(copy.deepcopy(method).float(), views, index)
        views = views.double()
        with monkeypatch.context() as patch:
            patch.setattr(module, "contrast", nt_xent_with_mask)
            theirs, their_gradient = loss_and_gradient(method, views, index)
        loss, gradient = loss_and_gradient(method, views, index)
        if step == 0:
            assert single == pytest.approx(loss, rel=1e-4) and relative_error(single_gradient, gradient) < 0.02
        assert loss == pytest.approx(theirs, rel=1e-10) and relative_error(gradient, their_gradient) < 1e-8
        assert loss == pytest.approx(case["losses"][step], rel=OF_LOSS[step])
        before = parameters(method)
        velocity = 0.9 * velocity + gradient + decay * before
        optimizer.step()
        torch.testing.assert_close(parameters(method), before - lr * velocity, rtol=1e-10, atol=1e-13)
    names, changes = [k for k, _ in encoder.named_parameters()], split_like(parameters(method) - start, encoder)
    moved = dict(zip(names, changes, strict=True))
    norms = {k: float(p.detach().norm()) for k, p in encoder.named_parameters()}
    published = from_published(case["param_l2"])
    assert norms.keys() == published.keys() == moved.keys()
    # The last step's direction differs a little; with another momentum all tensors would move much further.
    assert np.median([abs(norm / published[key] - 1) for key, norm in norms.items()]) < 2e-3
    for key, norm in norms.items():
        assert abs(norm - published[key]) < 0.4 * float(moved[key].norm()), key
        assert key.endswith("bias") or norm == pytest.approx(published[key], rel=0.03), key


def parameters(model: torch.nn.Module) -> torch.Tensor:
    """All parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def split_like(flat: torch.Tensor, model: torch.nn.Module) -> tuple[torch.Tensor, ...]:
    """The parts of such a vector, one for each parameter."""
    return flat.split([p.numel() for p in model.parameters()])


def loss_and_gradient(method, views, index) -> tuple[float, torch.Tensor]:
    """The mean loss of the images, and its gradient as one vector."""
    method.zero_grad()
    loss = method(views, index).mean()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in method.parameters()])
