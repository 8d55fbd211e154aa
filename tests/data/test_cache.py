"""Own images that are decoded once: pixels by Pillow, in memory and in a file; bad ones; views."""

import hashlib
import os
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from data import opened_folder
from data.cache import decode, square
from data.flags import Views
from data.images import ImageFiles
from data.loader import BatchedLoader, EpochSampler, fingerprint
from data.pillow import PROFILE, read_image
from data.sets.base import Opening
from data.sets.registry import data_set
from tests.data.test_tree import arrays, put
from utils.distributed import World
from utils.errors import InputError

VIEWS = Views("batched", 8, seed=3, workers=0)
ALONE = World(0, 1, torch.device("cpu"))


def noise(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> Path:
    """Images of noise, without loss."""
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return root


def opened(root: Path, cache: str, kept: Path | None = None):
    return data_set("folder").open(str(root), opening=Opening(kept, cache))


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (13, 8), (40, 30), (5, 7)])
def test_the_middle_by_pillow(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    scale = 8 / min(size)
    resized = image.resize([max(8, round(side * scale)) for side in size], Image.Resampling.BICUBIC)
    left, top = (resized.width - 8) // 2, (resized.height - 8) // 2
    expected = np.asarray(resized)[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(square(image, 8), expected)
    if min(size) == 8:  # only cut, nothing is resized
        np.testing.assert_array_equal(expected, np.asarray(image)[top : top + 8, left : left + 8])


def test_in_memory_and_in_a_file(tmp_path):
    data = opened(noise(tmp_path / "own", *(f"{c}/{i}.png" for c in "ab" for i in range(6))), "none")
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    expected = np.stack([np.asarray(Image.open(tmp_path / "own" / path)) for path in data.everything.paths])
    memory, disk = decode(files, 8, False), decode(files, 8, False, tmp_path / "cache")
    np.testing.assert_array_equal(memory.images, expected)
    np.testing.assert_array_equal(disk.images, expected)
    assert isinstance(disk.images, np.memmap) and memory.bad == disk.bad == {}
    (made,) = (tmp_path / "cache").glob("*.npy")
    before = made.stat().st_mtime_ns
    again = decode(files, 8, False, tmp_path / "cache")
    assert made.stat().st_mtime_ns == before and np.array_equal(again.images, expected)


def test_a_file_without_a_name(tmp_path):
    data = opened(noise(tmp_path / "own", "a.png", "b.png"), "disk")  # of a program that keeps nothing
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    found = decode(files, 8, False, disk=True).images
    assert isinstance(found, np.memmap) and np.array_equal(found, decode(files, 8, False).images)
    (plain,) = data.plain(data.everything, VIEWS, 8, ALONE)
    assert np.array_equal((plain.views[:, 0] * 255).round().byte().permute(0, 2, 3, 1).numpy(), found)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_list_is_decoded_once(tmp_path, monkeypatch, cache):
    data = opened(noise(tmp_path / "own", "a.png", "b.png"), cache)
    asked = []
    monkeypatch.setattr(opened_folder, "decode", lambda *how: asked.append(1) or decode(*how))
    training = data.training(data.everything, VIEWS)
    for _ in range(2):
        (plain,) = data.plain(data.everything, VIEWS, 8, ALONE)
    assert len(asked) == 1 and len(training.images) == len(plain.views) == 2
    data.training(data.everything, replace(VIEWS, size=4))
    assert len(asked) == 2


def test_a_run_that_is_refused_leaves_nothing(tmp_path):
    root = noise(tmp_path / "own", "a.png", "b.png")
    (root / "a.png").write_bytes((root / "a.png").read_bytes()[:-60])  # its header is whole
    data = opened(root, "disk", tmp_path / "runs" / "run")
    with pytest.raises(InputError, match=r"a\.png"):
        data.training(data.everything, VIEWS)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    data.training(data.everything, replace(VIEWS, skip_bad=True))
    assert len(list((tmp_path / "runs" / "decoded_images").iterdir())) == 2


def test_a_decoding_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    data = opened(noise(tmp_path / "own", "a.png", "b.png"), "none")
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    monkeypatch.setattr("data.cache.square", lambda image, size: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        decode(files, 8, False, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_file_that_changes_is_decoded_again(tmp_path):
    root = noise(tmp_path / "own", "a.png", "b.png")
    data = opened(root, "none")
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    first = decode(files, 8, False, tmp_path / "cache").images.copy()
    shutil.copy(root / "a.png", root / "b.png")
    second = decode(files, 8, False, tmp_path / "cache").images
    assert np.array_equal(first[0], second[1]) and not np.array_equal(first[1], second[1])


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_bad_images_are_replaced_in_training_and_left_out_elsewhere(tmp_path, cache):
    root = noise(tmp_path / "own", *(f"{c}/{i}.png" for c in "ab" for i in range(4)))
    (root / "a/1.png").write_bytes(b"no image")
    data, skipping = opened(root, cache, tmp_path / "run"), replace(VIEWS, skip_bad=True)
    with pytest.raises(InputError, match=r"a/1\.png"):
        data.training(data.everything, VIEWS)
    for _ in range(2):  # the second time from the file
        training = data.training(data.everything, skipping).images
        loader = BatchedLoader(training, EpochSampler(training, 1, 0, shuffle=True, seed=3), 3, ALONE.device)
        loader.sampler.set_epoch(1)
        batches = list(loader)
        assert sum(len(batch.index) for batch in batches) == 8 and all(1 not in batch.index for batch in batches)
        assert sum(batch.lost for batch in batches) == 0
        (message,) = [message for batch in batches for message in batch.bad]
        assert "a/1.png" in message and "none of JPEG, PNG" in message
        for batch in batches:
            assert batch.labels.tolist() == [data.everything.labels[i] for i in batch.index.tolist()]
        plain = list(data.plain(data.everything, skipping, 3, ALONE))
        assert [i for batch in plain for i in batch.index.tolist()] == [0, 2, 3, 4, 5, 6, 7]
        assert sum(batch.lost for batch in plain) == 1


def test_an_image_that_can_be_read_again_is_decoded_again(tmp_path, monkeypatch):
    data = opened(noise(tmp_path / "own", "a.png", "b.png", "c.png"), "none")
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    with monkeypatch.context() as patched:
        patched.setattr(
            "data.images.read_image", lambda path, *how: refused(path) if path.stem == "b" else Image.open(path)
        )
        first = decode(files, 8, False, tmp_path / "cache")
    assert list(first.bad) == [1] and "Permission denied" in first.bad[1] and not first.images[1].any()
    again = decode(files, 8, False, tmp_path / "cache")
    assert again.bad == {} and np.array_equal(again.images[1], np.asarray(Image.open(tmp_path / "own/b.png")))


def refused(path: Path):
    raise PermissionError(13, "Permission denied", str(path))


def test_threads_leave_the_settings_of_pillow_and_of_warnings(tmp_path):
    data = opened(noise(tmp_path / "own", *(f"{i:02d}.png" for i in range(48))), "none")
    files = ImageFiles(data.lists_from, data.everything, as_array=False, own=True)
    before = list(warnings.filters), PngImagePlugin.MAX_TEXT_CHUNK
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(files.__getitem__, range(48)))
    assert (list(warnings.filters), PngImagePlugin.MAX_TEXT_CHUNK) == before


def test_a_thread_that_leaves_does_not_change_what_another_reads_with(tmp_path):
    path, inside, left = noise(tmp_path, "a.png") / "a.png", threading.Event(), threading.Event()
    seen = []

    def slow(file):
        inside.set()
        assert left.wait(10)
        seen.append(PngImagePlugin.MAX_TEXT_CHUNK)

    reader = threading.Thread(target=read_image, args=(path, slow))
    first = threading.Thread(target=read_image, args=(path, lambda file: reader.start() or inside.wait(10)))
    first.start()
    first.join(10)
    left.set()
    reader.join(10)
    assert seen == [PROFILE] and PngImagePlugin.MAX_TEXT_CHUNK < PROFILE


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused_and_those_of_16_are_scaled(tmp_path, kind):
    Image.fromarray(np.full((8, 8), 200, kind)).save(tmp_path / "a.tif")
    with pytest.raises(OSError, match="32 bits a pixel"):
        read_image(tmp_path / "a.tif")
    for name in ("b.tif", "b.png"):
        Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / name)
        assert np.unique(np.asarray(read_image(tmp_path / name))).tolist() == [128]


def test_views_are_those_of_images_in_memory(tmp_path):
    """The same pixels give the same batched views, decoded from files or in an .npz file."""
    file = arrays(tmp_path / "a.npz")
    pixels = np.load(file)["train_images"]
    for i, image in enumerate(pixels):
        (tmp_path / "own").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "own" / f"{i}.png")
    found = []
    for root in (tmp_path / "own", file):
        data = opened(root, "auto")
        assert data.dataset.engines == ("batched", "pillow") and data.dataset.size == 8
        training = data.training(data.everything, VIEWS).images
        loader = BatchedLoader(training, EpochSampler(training, 1, 0, shuffle=True, seed=3), 4, ALONE.device)
        (batch,) = loader
        found.append((batch.views, batch.index))
        (whole,) = data.plain(data.everything, VIEWS, 8, ALONE)
        np.testing.assert_array_equal((whole.views[:, 0] * 255).round().byte().permute(0, 2, 3, 1).numpy(), pixels)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def by_pillow(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of an image, written out: the shorter side is resized to `size`."""
    height, width = image.shape[:2]
    scale = size / min(height, width)
    tall, wide = round(height * scale), round(width * scale)
    resized = np.asarray(Image.fromarray(image).resize((wide, tall), Image.Resampling.BICUBIC))
    top, left = (tall - size) // 2, (wide - size) // 2
    return resized[top : top + size, left : left + size]


@pytest.mark.parametrize(("shape", "size"), [((16, 16), 8), ((12, 16), 12), ((100, 110), 96)])
def test_arrays_of_another_shape_are_squares_of_the_size_that_is_used(tmp_path, shape, size):
    """In probes and evaluations, too, which neither crop at random nor resize."""
    rng = np.random.default_rng(2)
    pixels, test = (rng.integers(0, 256, (n, *shape, 3), np.uint8) for n in (4, 2))
    data = opened(arrays(tmp_path / "a.npz", train_images=pixels, test_images=test), "auto")
    assert data.dataset.size == {8: 16}.get(size, size)
    views = replace(VIEWS, size=size)
    expected = np.stack([by_pillow(image, size) for image in pixels])
    (whole,) = data.plain(data.everything, views, 8, ALONE)
    np.testing.assert_array_equal((whole.views[:, 0] * 255).round().byte().permute(0, 2, 3, 1).numpy(), expected)
    for images in (data.probing(data.everything, views), data.training(data.everything, views).images):
        np.testing.assert_array_equal(images.images.images, expected)


def test_where_images_are_decoded_to(tmp_path, monkeypatch):
    small, large = noise(tmp_path / "small", "a.png", "b.png"), put(tmp_path / "large", "a.png", size=(300, 300))
    assert opened(small, "auto").where == "memory" and opened(large, "auto").where == "none"
    assert opened(large, "disk").where == "disk" and opened(large, "none").dataset.engines == ("opencv", "pillow")
    # Large photographs that are looked at in small size are cropped from all their pixels.
    assert data_set("folder").open(str(large), opening=Opening(size=32)).where == "none"
    # Each process decodes its own images, which together have a share of the memory.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr("data.opened_folder.SHARE", memory / (3 * 2 * 8 * 8 * 3))
    for processes, where in ((1, "memory"), (3, "memory"), (4, "disk")):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert opened(small, "auto").where == where


@pytest.mark.parametrize("line", ["train/0/-1 0", "train/cat/image.jpg 0", "train/0/9 0", "test/0/0 0\ntrain/0/1 0"])
def test_a_list_of_other_images_than_those_of_an_npz_file_is_one_line(tmp_path, line):
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    data = opened(arrays(tmp_path / "a.npz", train_images=pixels), "auto")
    paths = [row.split()[0] for row in line.splitlines()]
    chosen = replace(data.everything, labels=np.zeros(len(paths), np.int64), paths=paths)
    with pytest.raises(InputError, match="make it again"):
        data.training(chosen, VIEWS)


def test_other_labels_in_an_npz_file_are_not_those_of_its_lists(tmp_path):
    chosen = opened(arrays(tmp_path / "a.npz"), "auto").everything
    data = opened(arrays(tmp_path / "a.npz", train_labels=np.array([1, 1, 1, 0])), "auto")
    with pytest.raises(InputError, match="other labels than this .npz file: make it again"):
        data.training(chosen, VIEWS)


def test_other_pixels_in_an_npz_file_are_other_images(tmp_path):
    """Their names are those of their places, so a run that goes on must look at the pixels."""
    rng, marks = np.random.default_rng(5), []
    for _ in range(2):
        pixels = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
        data = opened(arrays(tmp_path / "a.npz", train_images=pixels), "auto")
        marks.append(fingerprint(data.training(data.everything, VIEWS).images))
        assert data.pixels["train"] == hashlib.sha256(pixels.tobytes()).hexdigest() and data.pixels["source"] == "own"
    assert marks[0] != marks[1]
    assert opened(noise(tmp_path / "own", "a.png"), "auto").pixels is None
