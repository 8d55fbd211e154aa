"""views.png: what it shows, and that writing it changes nothing of a run."""

import numpy as np
import pytest
import torch
from PIL import Image

import pretrain.epoch
from run.views import GAP, SHOWN, write_views
from tests.scripts.test_folder import PRETRAIN as OWN
from tests.scripts.test_folder import photographs
from tests.scripts.test_train_scripts import PRETRAIN, S_B, same, weights
from utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = [*PRETRAIN, "--trainSplit", S_B, "--batch_size", "25", "--lr", "0.1"]


@pytest.mark.parametrize(("n", "columns", "height", "width"), [(3, 2, 5, 4), (20, 1, 6, 6), (1, 3, 2, 7)])
def test_a_row_an_image_and_a_column_a_view(tmp_path, n, columns, height, width):
    views = torch.rand(n, columns, 3, height, width, generator=torch.Generator().manual_seed(0))
    write_views(views, tmp_path / "new" / "views.png")
    page = np.asarray(Image.open(tmp_path / "new" / "views.png"))
    shown = min(n, SHOWN)
    assert page.shape == (shown * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4)
    covered = np.zeros(page.shape[:2], bool)
    for i in range(shown):
        for j in range(columns):
            down, across = i * (height + GAP), j * (width + GAP)
            place = slice(down, down + height), slice(across, across + width)
            wanted = views[i, j].permute(1, 2, 0).numpy() * 255
            assert np.abs(page[place][..., :3] - wanted).max() <= 0.501
            covered[place] = True
    assert (page[covered][:, 3] == 255).all() and not page[~covered].any()


def test_no_random_number_is_drawn_and_no_image_is_no_file(tmp_path):
    state = torch.get_rng_state()
    views = torch.rand(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    before = views.clone()
    write_views(views, tmp_path / "views.png")
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(before, views)
    write_views(torch.empty(0), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/views.png cannot be written"):
        write_views(views, tmp_path / "file" / "views.png")


def test_a_run_writes_them_once_and_is_the_same_without(call, tmp_path, interrupted):
    """Stopped within its first epoch, it has those of its first batch, not of the batch that it goes on with."""
    folder, seen = tmp_path / "checkpoints", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain.epoch, "write_views", lambda views, path: seen.append((views.clone(), path)))
        assert call("train_simCLR.py", "without", *SMALL, "--epochs", 2).returncode == 0
    ((views, path),) = seen
    assert path.name == "views.png" and not (folder / "without" / "views.png").exists()
    write_views(views, tmp_path / "expected.png")
    interrupted(1)
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", 2).returncode == 143
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", 2, "--resume").returncode == 0
    assert (folder / "run" / "views.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert same(weights(folder / "run"), weights(folder / "without"))


@pytest.mark.parametrize(
    "options",
    [["--method", "bcl-i", "--augment", "pillow"], ["--method", "bcl-d"], ["--method", "sdclr"]],
    ids=["per image", "batched", "pruned"],
)
def test_every_kind_of_views(call, tmp_path, options):
    assert call("train_simCLR.py", "run", *SMALL, "--epochs", 1, *options).returncode == 0
    assert Image.open(tmp_path / "checkpoints/run/views.png").size == (2 * 16 + GAP, SHOWN * (16 + GAP) - GAP)


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_own_images(call, tmp_path, cache):
    photographs(tmp_path / "flat", {"": 8, "x/y": 12})
    done = call("train_simCLR.py", "run", *OWN, "--data", tmp_path / "flat", "--epochs", 1, "--cache", cache)
    assert done.returncode == 0, done.stderr
    width, height = Image.open(tmp_path / "checkpoints/run/views.png").size
    assert height == SHOWN * (width - GAP) // 2 + (SHOWN - 1) * GAP
