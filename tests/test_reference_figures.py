"""The published procedure's numbers: models, both branches, masks, loss, gradients, four-step trainings.

Weights are loaded through the reader of the authors' checkpoints, from files that `torch.save` wrote.
"""

import hashlib
import importlib

import numpy as np
import pytest
import torch

from methods import SDCLR, SimCLR
from methods.simclr import nt_xent
from models import build_encoder
from models.mask import compute_masks, pruned, set_masks
from models.published import from_published, load_state
from run.checkpoint import read_checkpoint
from run.optim import build_optimizer
from run.schedule import pretrain_lr
from tests.oracles import nt_xent_with_mask
from tests.reference import arrays, figures, images_of, relative_error, state_of

CASES = ["res18", "res32_s", "res50_imagenet"]


def encoder_of(name: str, sdclr: bool) -> torch.nn.Module:
    model, _, stem = name.partition("_imagenet")
    stem = "imagenet" if name.endswith("imagenet") else "cifar"
    return build_encoder(model, 128, 3 if sdclr else 2, stem, prune=sdclr, dual_bn=sdclr)


def load_as_published(encoder: torch.nn.Module, case: dict, folder) -> None:
    file = folder / "model_2000.pt"
    torch.save({"epoch": 2000, "state_dict": state_of(case), "optim": {}}, file)
    load_state(encoder, from_published(read_checkpoint(file)["state_dict"]), str(file))


@pytest.mark.parametrize("name", CASES)
def test_simclr_features_and_projections(name, tmp_path):
    case, expected = figures()[f"simclr_{name}"], arrays(f"simclr_{name}")
    encoder = encoder_of(name, sdclr=False)
    load_as_published(encoder, case, tmp_path)
    images = images_of(case["image_seed"], case["images"])
    with torch.no_grad():
        encoder.eval()
        assert relative_error(encoder.features(images), expected["features"]) < 1e-4
        assert relative_error(encoder(images), expected["projection"]) < 1e-4
        assert relative_error(encoder.train()(images), expected["projection_train"]) < 1e-4


@pytest.mark.parametrize("name", CASES)
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
    assert density == pytest.approx(case["density"], abs=1e-7)  # theirs is a float32 sum
    set_masks(encoder, masks)
    images = images_of(case["image_seed"], case["images"])
    with torch.no_grad():
        # Evaluation first: a forward in training mode moves the running statistics.
        encoder.eval()
        assert relative_error(encoder(images), expected["target/projection"]) < 1e-4
        with pruned(encoder):
            assert relative_error(encoder(images), expected["pruned/projection"]) < 1e-4
        encoder.train()
        assert relative_error(encoder(images), expected["target/projection_train"]) < 1e-4
        with pruned(encoder):
            assert relative_error(encoder(images), expected["pruned/projection_train"]) < 1e-4


@pytest.mark.parametrize("temperature", [0.2, 0.5])
def test_nt_xent_and_its_gradients(temperature):
    expected = arrays(f"nt_xent/t{temperature}")
    view1, view2 = expected["view1"].requires_grad_(), expected["view2"].requires_grad_()
    loss = nt_xent(view1, view2, temperature).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"].item(), rel=1e-4)
    assert relative_error(view1.grad, expected["grad1"]) < 1e-4
    assert relative_error(view2.grad, expected["grad2"]) < 1e-4


@pytest.mark.parametrize("kind", ["simclr", "sdclr"])
def test_four_training_steps(kind, tmp_path, monkeypatch):
    """Losses, learning rates and final norms of the published training.

    The training is chaotic: a loss that differs in its last float32 bit moves the fourth loss by 1 to 4%, and so
    does float64. The trajectory is therefore driven by the published form of the loss, with our models, masks,
    single backward, schedule and optimiser; at each of its four states our own loss must give the same value
    and the same gradient.
    """
    all_figures = figures()
    case = all_figures[f"train_{kind}_res32_s"]
    encoder = encoder_of("res32_s", kind == "sdclr")
    load_as_published(encoder, all_figures[f"{kind}_res32_s"], tmp_path)
    t = case["temperature"]
    method = SDCLR(encoder, t, case["prune_percent"]) if kind == "sdclr" else SimCLR(encoder, t)
    optimizer = build_optimizer("sgd", method.parameters(), case["lr"], case["weight_decay"])
    module = importlib.import_module(f"methods.{kind}")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    # Where convolutions round otherwise than where the figures were made, chaos leaves only the first steps equal.
    outputs = images_of(all_figures[f"{kind}_res32_s"]["image_seed"], all_figures[f"{kind}_res32_s"]["images"])
    key = "projection" if kind == "simclr" else "target/projection"
    with torch.no_grad():
        same_rounding = torch.equal(encoder.eval()(outputs), arrays(f"{kind}_res32_s")[key])
    method.train()
    method.start_epoch(1)
    losses, lrs = [], []
    for step in range(case["steps"]):
        lr = pretrain_lr(step, case["total_steps"], case["warmup_steps"], case["lr"])
        optimizer.param_groups[0]["lr"] = lr
        lrs.append(lr)
        views = images_of(case["image_seed"] + step, [2 * case["batch"], 3, case["size"], case["size"]])
        views, index = views.unflatten(0, (-1, 2)), torch.arange(case["batch"])
        ours, our_gradient = loss_and_gradient(method, views, index)
        with monkeypatch.context() as patch:
            patch.setattr(module, "contrast", nt_xent_with_mask)
            loss, gradient = loss_and_gradient(method, views, index)
        if same_rounding or step < 2:
            assert ours == pytest.approx(case["losses"][step], rel=1e-4)
        assert relative_error(our_gradient, gradient) < 1e-4
        losses.append(loss)
        optimizer.step()
    torch.set_num_threads(threads)
    assert lrs == pytest.approx(case["lrs"], rel=1e-9)
    assert losses[:2] == pytest.approx(case["losses"][:2], rel=1e-4)
    if not same_rounding:
        pytest.skip("convolutions round differently here: compared two steps of four")
    assert losses == pytest.approx(case["losses"], rel=1e-4)
    norms = {k: float(p.detach().double().norm()) for k, p in encoder.named_parameters()}
    published = from_published(case["param_l2"])
    assert norms.keys() == published.keys()
    for key, norm in norms.items():
        assert norm == pytest.approx(published[key], rel=1e-3), key


def loss_and_gradient(method, views, index) -> tuple[float, torch.Tensor]:
    method.zero_grad()
    loss = method(views, index).mean()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in method.parameters()])
