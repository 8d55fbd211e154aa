"""--image_size for images in memory: what each step sees, and what results, names and resumed runs say of it."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.flags import Views
from data.images import ImageList
from data.sets.memory import resized
from data.sets.registry import data_set
from models import build_classifier
from recipes.flags import parse_recipe
from recipes.steps import commands
from run.names import read_name
from split.open import Lists
from tests.conftest import one_line_error
from utils.distributed import World
from utils.errors import InputError

ALONE = World(0, 1, torch.device("cpu"))
SIZE = 24
CHOSEN = ImageList("own.npy", "0" * 40, "own", np.arange(5), np.array([9, 3, 700, 4, 1390]))


@pytest.fixture(scope="module")
def digits():
    return data_set("digits").open("")


def by_pillow(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), resample=Image.BILINEAR))


@pytest.mark.parametrize(("before", "after"), [(32, 16), (32, 8), (16, 24), (28, 32)])
def test_images_are_resized_as_pillow_and_torch_do(before, after):
    images = np.random.RandomState(0).randint(0, 256, (4, before, before, 3)).astype(np.uint8)
    found = resized(images, after)
    assert found.dtype == np.uint8 and np.array_equal(found, np.stack([by_pillow(i, after) for i in images]))
    wanted = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    wanted = torch.nn.functional.interpolate(wanted, (after, after), mode="bilinear", antialias=True)
    assert (torch.from_numpy(found).permute(0, 3, 1, 2) - wanted).abs().max() < 1.6  # two roundings


def test_a_fine_grating_does_not_alias():
    lines = np.zeros((1, 32, 32, 3), np.uint8)
    lines[:, :, ::2] = 255
    assert np.ptp(resized(lines, 16)[:, :, 1:-1].astype(int)) <= 1


def test_more_than_the_memory_is_one_line(monkeypatch):
    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(np, "empty", none_left)
    with pytest.raises(InputError, match=r"2 images of 4,?096 pixels need 0.1 GB"):
        resized(np.zeros((2, 8, 8, 3), np.uint8), 4096)


@pytest.mark.parametrize("engine", ["batched", "pillow"])
def test_evaluation_sees_resized_images(digits, engine):
    views = Views(engine, SIZE, seed=0, workers=0)
    for chosen, given in ((CHOSEN, digits.train.images[CHOSEN.ids]), (None, digits.test.images)):
        found = torch.cat([batch.views[:, 0] for batch in digits.plain(chosen, views, 64, ALONE)])
        wanted = np.stack([by_pillow(image) for image in given])
        assert torch.equal(found, torch.from_numpy(wanted).permute(0, 3, 1, 2).float() / 255)


@pytest.mark.parametrize("engine", ["batched", "pillow"])
def test_probes_shift_resized_images_by_up_to_an_eighth(digits, engine):
    """Each view is one of the 49 crops of the image with 3 black pixels around it, and they are not all the same."""
    images, places = digits.probing(CHOSEN, Views(engine, SIZE, seed=0, workers=0)), set()
    assert images.images.names == ["9", "3", "700", "4", "1390"]
    for epoch in range(6):
        for i, view in enumerate(views_of(images, epoch)):
            padded = np.pad(by_pillow(digits.train.images[CHOSEN.ids[i]]), ((3, 3), (3, 3), (0, 0)))
            view = np.round(view[0].permute(1, 2, 0).numpy() * 255)
            fits = {(y, x) for y in range(7) for x in range(7) if (padded[y : y + SIZE, x : x + SIZE] == view).all()}
            assert fits
            places |= fits
    assert len(places) > 9


def views_of(images, epoch: int) -> list[torch.Tensor]:
    """The views [V, 3, H, W] of each image in an epoch."""
    if not getattr(images.transform, "of_batches", False):
        return [images[epoch, i][0] for i in range(len(images))]
    u = torch.rand(len(images), sum(images.transform.numbers), generator=torch.Generator().manual_seed(epoch))
    given = torch.from_numpy(images.images.images).permute(0, 3, 1, 2)
    return list(images.transform(given, u, torch.zeros(len(images)), u[:, 0])[:, None])


@pytest.mark.parametrize("engine", ["batched", "pillow"])
def test_pre_training_crops_resized_images(digits, engine):
    """A view of all of the image, without jitter, is the image as it was resized, not resized again."""
    data = digits.training(CHOSEN, Views(engine, SIZE, 0, 0, strength=0.0, smallest_crop=1.0))
    wanted = [by_pillow(digits.train.images[i]) for i in CHOSEN.ids]
    assert np.array_equal(np.stack([np.asarray(data.images.images[i]) for i in range(5)]), np.stack(wanted))
    for view, image in zip(views_of(data.images, 1), wanted, strict=True):
        assert np.abs(view[0].permute(1, 2, 0).numpy() * 255 - image).max() < 1.5  # rounded where it is made grey


def test_they_are_resized_once_and_hashes_are_of_the_data(digits, monkeypatch):
    own = data_set("digits").open("")
    assert own.of(CHOSEN, SIZE) is own.of(CHOSEN, SIZE) and own.of(None, SIZE) is own.of(None, SIZE)
    assert own.of(CHOSEN, SIZE).images.shape == (5, SIZE, SIZE, 3) and own.of(CHOSEN, 16).images.shape[1] == 16
    assert not np.array_equal(own.of(CHOSEN, 20).images[0], own.of(CHOSEN, SIZE).images[0, :20, :20])
    assert own.pixels["train"] == hashlib.sha256(digits.train.images.tobytes()).hexdigest()


# ---- command lines


def write_lists(folder, digits) -> np.ndarray:
    """train.npy of 90 images, few.npy of 60 others, none of the validation list; returns few.npy's."""
    free = np.setdiff1d(np.arange(1397), Lists().open(data_set("digits").val_list, digits).ids)
    np.save(folder / "train.npy", free[:90])
    np.save(folder / "few.npy", free[90:150])
    return free[90:150]


PRETRAIN = ["train_simCLR.py", "p", "--dataset", "digits", "--trainSplit", "train.npy", "--model", "res20_s",
            "--batch_size", "45", "--optimizer", "sgd", "--lr", "0.1", "--precision", "fp32"]  # fmt: skip


@pytest.mark.slow
def test_a_run_from_pre_training_to_features(call, tmp_path, digits):
    few = write_lists(tmp_path, digits)
    done = call(*PRETRAIN, "--image_size", SIZE, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    for size in ([], ["--image_size", 20]):
        again = call(*PRETRAIN, "--epochs", "2", "--resume", *size)
        one_line_error(again, "image_size was 24, is", "20" if size else "16")
    probe = ["--dataset", "digits", "--model", "res20_s", "--trainSplit", "few.npy", "--groupSplit", "train.npy",
             "--checkpoint", "checkpoints/p/model.pt", "--cvt_state_dict", "--fixto", "layer4", "--epochs", "1",
             "--protocol", "sdclr-fewshot", "--precision", "fp32"]  # fmt: skip
    for name, size, wanted in (
        ("same", SIZE, {"image_size": [SIZE, 16]}),
        ("usual", 16, {"pretraining_image_size": [SIZE, 16]}),
    ):
        done = call("train_cifar.py", name, *probe, "--image_size", size)
        assert done.returncode == 0, done.stderr
        result = json.loads((tmp_path / "checkpoints_tune" / name / "results.json").read_text())
        found = {key: value for key, value in result["departs"].items() if "image_size" in key}
        assert found == wanted
        told = f"it was pre-trained at {SIZE} pixels, and is probed at {size}"
        assert (told in done.stdout) == (name == "usual")
    one_line_error(call("train_cifar.py", "same", *probe, "--resume", "--epochs", "2"), "image_size was 24, is 16")
    saved = ["--dataset", "digits", "--model", "res20_s", "--checkpoint", "checkpoints_tune/same/model.pt"]
    done = call("features/save.py", *saved, "--list", "few.npy", "--image_size", SIZE, "--out", "f.npz")
    assert done.returncode == 0, done.stderr
    network = build_classifier("res20_s", 10, stem="cifar").eval()
    network.load_state_dict(torch.load(tmp_path / "checkpoints_tune/same/model.pt", weights_only=True)["state_dict"])
    network.fc = torch.nn.Identity()
    images = np.stack([by_pillow(i) for i in digits.train.images[few]])
    with torch.no_grad():
        wanted = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert np.allclose(np.load(tmp_path / "f.npz")["features"], wanted.numpy(), rtol=1e-4, atol=1e-5)


def steps(*words: str) -> list[list[str]]:
    return commands(parse_recipe(["--dataset", "digits", *words], ""))


def test_recipes_pass_it_on_and_name_it():
    usual, other = steps("--image_size", "16"), steps("--image_size", "24", "--method", "sdclr")
    assert usual == steps() and all("--image_size" not in words for words in usual)
    assert len(other) == 3 and all(words[words.index("--image_size") + 1] == "24" for words in other)
    plain = steps("--method", "sdclr")
    assert {name(a) for a in plain}.isdisjoint(name(b) for b in other)
    found = read_name(name(other[1]), "cifar")
    assert (found.pretraining, found.method) == (name(other[0]), "_pruneP0.5DualBN_px24")
    assert found.list == "digits_split1_D_i"


def name(words: list[str]) -> str:
    """The experiment of a command line."""
    return next(b for a, b in zip(words, words[1:], strict=False) if a.endswith(".py"))


def test_recipes_of_image_files_name_it_too():
    named = [name(commands(parse_recipe(["--dataset", "places", *size], ""))[0])
             for size in ([], ["--image_size", "224"], ["--image_size", "112"])]  # fmt: skip
    assert named[0] == named[1] and named[2] == f"{named[0]}_px112"
