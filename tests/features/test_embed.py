"""Figures of features: PCA against numpy's SVD, t-SNE by its clusters, who is drawn in which colour, and bad input."""

import pickle
import re
import zipfile

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

import features.embed
import split.lists
import split.open
from data.sets.memory import load
from data.sets.registry import data_set
from features.embed import class_styles, plane
from tests.conftest import one_line_error
from tests.probe.test_on_features import alone, centre, network, save, tensors
from tests.trees import make_tree, names

PLACES = data_set("places")
D_I = "digits_imbSub_with_subsets/digits_split1_D_i.npy"
# Of its 31, 16, 120, 22, 44, 6, 61, 11, 8 and 86 images of the classes 0 to 9.
GROUPS = {"Many": {2, 4, 6, 9}, "Medium": {0, 1, 3}, "Few": {5, 7, 8}}
DIGITS = ["--dataset", "digits", "--model", "res20_s", "--num_workers", 0, "--no-cuda"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder that takes the place of split/."""
    return tmp_path_factory.mktemp("split")


@pytest.fixture(autouse=True)
def lists(root, monkeypatch):
    monkeypatch.setattr(split.lists, "ROOT", root)
    monkeypatch.setattr(split.open, "ROOT", root)
    return root


@pytest.fixture
def embed(call, figures, tmp_path):
    """Run features.embed; returns its figure, which is checked: label -> points [n, 2], the figure, and the output."""
    figures.watch(features.embed)

    def run_embed(*options: object, out: str = "out/figure.png"):
        done = call("features/embed.py", *options, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / out).read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF"}[out[-3:]]
        figure = figures[(tmp_path / out).name]
        # The legend's markers can be seen, also where those of many images are small.
        assert all(handle.get_sizes() >= 15 for legend in figure.legends for handle in legend.legend_handles)
        parts = {c.get_label(): np.asarray(c.get_offsets()) for c in figure.axes[0].collections}
        return parts, figure, done.stdout

    return run_embed


def npz(path, values, labels, **more):
    np.savez(path, features=np.asarray(values, np.float32), labels=np.asarray(labels, np.int64), **more)
    return path


def clusters(classes: int, images: int, channels: int = 20, apart: float = 8, seed: int = 0):
    """Features that lie around a point for each class, and labels; in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), images))
    return apart * rng.normal(size=(classes, channels))[labels] + rng.normal(size=(len(labels), channels)), labels


def by_svd(values) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [N, 2] on the first two principal components, and their shares of the variance."""
    values = np.asarray(values, np.float64)
    u, s, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    return u[:, :2] * s[:2], (s**2 / (s**2).sum())[:2]


def near_up_to_sign(found, expected) -> None:
    scale = np.abs(expected).max()
    for a, b in zip(np.asarray(found).T, np.asarray(expected).T, strict=True):
        assert min(np.abs(a - b).max(), np.abs(a + b).max()) < 1e-4 * scale


# ---- coordinates


@pytest.mark.parametrize(
    ("images", "channels", "offset"),
    [(40, 8, 0), (30, 100, 0), (600, 64, 0), (50, 2, 0), (200, 30, 1e4)],
)
def test_pca_is_that_of_the_singular_values(images, channels, offset):
    """Also where the first ones are close, and the mean is far off."""
    values = np.random.default_rng(images).normal(size=(images, channels)) + offset
    points, axes = plane(values.astype(np.float32), "pca", 0)
    expected, shares = by_svd(values.astype(np.float32))
    near_up_to_sign(points, expected)
    assert axes == [f"PCA {i} ({share:.1%} of the variance)" for i, share in enumerate(shares, 1)]


@pytest.mark.parametrize("scale", [1e-8, 1, 1e8])
def test_tsne_finds_clusters_and_the_seed_makes_it(scale):
    values, labels = clusters(4, 30)
    values = (scale * values).astype(np.float32)
    points, axes = plane(values, "tsne", 3)
    assert points.shape == (120, 2) and axes == ["t-SNE 1", "t-SNE 2"]
    assert silhouette_score(points, labels) > 0.5
    assert np.array_equal(points, plane(values, "tsne", 3)[0])
    if scale == 1:
        # Without clusters there are none.
        noise = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
        assert silhouette_score(plane(noise, "tsne", 3)[0], labels) < 0.2


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_few_images_few_features_and_images_that_are_there_twice(method):
    rng = np.random.default_rng(1)
    for values in (*(rng.normal(size=shape) for shape in ((4, 2), (5, 600), (91, 3))), np.repeat(np.eye(6, 5), 20, 0)):
        points, _ = plane(values.astype(np.float32), method, 0)
        assert points.shape == (len(values), 2) and np.isfinite(points).all()


# ---- of digits


@pytest.fixture(scope="module")
def digits():
    """A network, and its features of the test images, one by one."""
    model, data = network("res20_s"), load(data_set("digits"), "", train=False)
    return model, alone(model, tensors(data.images)).numpy(), data.labels


@pytest.mark.slow
def test_file_and_checkpoint_give_the_same_points(embed, call, digits, tmp_path):
    model, values, labels = digits
    checkpoint = save(model, tmp_path / "model.pt")
    assert call("features/save.py", *DIGITS, "--checkpoint", checkpoint, "--out", "f.npz").returncode == 0
    parts, figure, said = embed(*DIGITS, "--checkpoint", checkpoint, "--method", "pca")
    expected, shares = by_svd(values)
    signs = np.sign([(parts["3"] * expected[labels == 3]).sum(0)])
    assert list(parts) == [str(c) for c in range(10)]
    for c in range(10):
        np.testing.assert_allclose(parts[str(c)], signs * expected[labels == c], atol=2e-3)
    label = re.fullmatch(r"PCA 1 \((\d+\.\d)% of the variance\)", figure.axes[0].get_xlabel())
    assert float(label[1]) == pytest.approx(100 * shares[0], abs=0.051)
    assert "pca of 400 images, by class" in said and "test by" in said
    other, _, said = embed("--dataset", "digits", "--features", "f.npz", "--method", "pca")
    assert all(np.array_equal(parts[c], other[c]) for c in parts) and "f.npz" in said
    one, _, _ = embed(*DIGITS, "--checkpoint", checkpoint, "--images", 60, "--seed", 4)
    two, _, _ = embed("--dataset", "digits", "--features", "f.npz", "--images", 60, "--seed", 4)
    assert all(np.array_equal(one[c], two[c]) for c in one)


def test_a_seeded_subset_is_said_to_be_one(embed, tmp_path):
    """Each is the PCA of so many of the images, with their own labels."""
    values, labels = clusters(3, 400)
    command = ["--dataset", "digits", "--features", npz(tmp_path / "f.npz", values, labels), "--method", "pca"]
    for count, seed in ((50, 0), (50, 1), (1200, 0), (5000, 0)):
        parts, _, said = embed(*command, "--images", count, "--seed", seed)
        rows = np.sort(np.random.default_rng(seed).choice(1200, 50, replace=False)) if count == 50 else np.arange(1200)
        expected = by_svd(values[rows])[0]
        order = np.concatenate([expected[labels[rows] == c] for c in range(3)])
        near_up_to_sign(np.concatenate(list(parts.values())), order)
        assert (f"{count} images, {count} of 1200 at random (seed {seed})" in said) == (count == 50)
        assert ("at random" in said) == (count == 50)


def test_groups_by_a_list_of_images_in_memory(embed, tmp_path):
    values, labels = clusters(10, 12)
    file = npz(tmp_path / "f.npz", values, labels)
    command = ["--dataset", "digits", "--features", file, "--method", "pca", "--groupSplit"]
    expected = by_svd(values)[0]
    order = np.concatenate([expected[np.isin(labels, list(members))] for members in GROUPS.values()])
    for more in ([], ["--colour", "group"]):
        parts, _, said = embed(*command, D_I, *more)
        assert {g: len(p) for g, p in parts.items()} == {g: 12 * len(m) for g, m in GROUPS.items()}
        near_up_to_sign(np.concatenate(list(parts.values())), order)
        assert "by group" in said
    few = npz(tmp_path / "few.npz", values[np.isin(labels, [5, 7])], labels[np.isin(labels, [5, 7])])
    parts, _, _ = embed(*command[:3], few, *command[4:], D_I)  # no empty group in the legend
    assert {g: len(p) for g, p in parts.items()} == {"Few": 24}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file(embed, tmp_path):
    file = npz(tmp_path / "f.npz", *clusters(10, 8))
    command = ["--dataset", "digits", "--features", file]
    for out in ("a.png", "a.pdf"):
        _, figure, _ = embed(*command, out=out)
        before = (tmp_path / out).read_bytes()
        embed(*command, out=out)
        assert (tmp_path / out).read_bytes() == before
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [str(c) for c in range(10)]
    assert figure.axes[0].get_title() == "digits: 80 images by class"
    # What tells ten classes apart: colours and markers; and the legend's can be seen.
    dots = figure.axes[0].collections
    assert (
        len({tuple(d.get_facecolor()[0]) for d in dots})
        == len({d.get_paths()[0].vertices.tobytes() for d in dots})
        == 10
    )


# ---- image files, and many classes


@pytest.fixture(scope="module")
def places(root, tmp_path_factory):
    """Images of three scenes; 101 of the first class in the long-tailed list, 25 of the second, 4 of the third."""
    tree = make_tree(tmp_path_factory.mktemp("places"), names(3), [101, 25, 4], val=6, size=24)
    (root / PLACES.folder).mkdir()
    lines = {part: [f"{p.relative_to(tree)} {label}\n" for label, scene in enumerate(names(3), 40)
                    for p in sorted(tree.glob(f"{part}/{scene}/*"))] for part in ("train", "val")}  # fmt: skip
    for name, part, step in (
        ("Places_LT_train", "train", 1),
        ("Places_BL_train", "train", 9),
        (PLACES.test_list, "val", 1),
    ):
        (root / PLACES.path(name)).write_text("".join(lines[part][::step]))
    return tree


def test_image_files(embed, places, root, tmp_path):
    model = network("res10", "imagenet")
    command = ["--dataset", "places", "--data", places, "--model", "res10", "--image_size", 16, "--augment", "pillow",
               "--checkpoint", save(model, tmp_path / "model.pt"), "--num_workers", 0, "--no-cuda",
               "--method", "pca"]  # fmt: skip
    parts, _, _ = embed(*command, "--groupSplit", "Places_LT_train")
    paths = [line.split()[0] for line in (root / PLACES.path(PLACES.test_list)).read_text().splitlines()]
    assert {g: len(p) for g, p in parts.items()} == {"Many": 6, "Medium": 6, "Few": 6}
    expected, _ = by_svd(alone(model, centre(places, paths, 16)).numpy())
    near_up_to_sign(np.concatenate(list(parts.values())), expected)
    parts, _, said = embed(*command, "--images", 7)
    assert sum(map(len, parts.values())) == 7 and set(parts) <= {"40", "41", "42"}
    assert "7 images, 7 of 18 at random (seed 0), by class" in said
    rows = np.sort(np.random.default_rng(0).choice(18, 7, replace=False))
    chosen, _ = by_svd(alone(model, centre(places, [paths[i] for i in rows], 16)).numpy())
    near_up_to_sign(np.concatenate(list(parts.values())), chosen)


def test_a_bad_image_is_left_out_of_a_subset(embed, places, root, tmp_path):
    lines = (root / PLACES.path(PLACES.test_list)).read_text().splitlines()
    (tmp_path / "list.txt").write_text("\n".join([*lines[:9], "val/gone.JPEG 41"]))
    command = ["--dataset", "places", "--data", places, "--model", "res10", "--image_size", 16, "--method", "pca",
               "--checkpoint", save(network("res10", "imagenet"), tmp_path / "model.pt"), "--num_workers", 0,
               "--no-cuda", "--list", "list.txt", "--on_bad_image", "skip"]  # fmt: skip
    for count in (9, 10):
        seed = next(s for s in range(99) if 9 in np.random.default_rng(s).choice(10, 9, replace=False))
        _, _, said = embed(*command, "--images", count, "--seed", seed)
        assert f"pca of {count - 1} images" in said
        assert (f", 9 of 10 at random (seed {seed})" in said) == (count == 9)


def test_more_than_ten_classes(embed, tmp_path):
    """Have colours, but no legend; of groups there is one."""
    values, labels = clusters(12, 5)
    lines = [f"train/{c}/{i}.jpg {c}" for c in range(12) for i in range((101, 100, 20, 19)[c % 4])]
    (tmp_path / "own.txt").write_text("\n".join(lines))
    command = ["--dataset", "places", "--features", npz(tmp_path / "f.npz", values, labels), "--method", "pca"]
    parts, figure, said = embed(*command)
    assert [len(p) for p in parts.values()] == [5] * 12 and not figure.legends
    assert len({tuple(dots.get_facecolor()[0]) for dots in figure.axes[0].collections}) == 12
    assert "by class (12, too many for a legend: --groupSplit" in said
    parts, figure, said = embed(*command, "--groupSplit", "own.txt")
    assert {g: len(p) for g, p in parts.items()} == {"Many": 15, "Medium": 30, "Few": 15} and figure.legends
    ten = npz(tmp_path / "ten.npz", values[labels < 10], labels[labels < 10])
    assert list(embed("--dataset", "places", "--features", ten, "--method", "pca")[0]) == [str(c) for c in range(10)]


# ---- bad input


class Executes:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_files_that_are_not_of_features(call, tmp_path):
    values, labels = clusters(3, 10)
    single, evil = values.astype(np.float32), Executes(tmp_path / "executed")
    good = npz(tmp_path / "good.npz", values, labels).read_bytes()
    flipped = good[:2000] + bytes([good[2000] ^ 255]) + good[2001:]
    contents = {"cut": good[:-60], "flipped": flipped, "empty": b"", "text": b"text", "pickle": pickle.dumps(evil)}
    for name, content in contents.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 512), }"
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("features.npy", b"\x93NUMPY\1\0v\0" + header.ljust(117) + b"\n")
    arrays = {"short": (single, labels[:-1]), "double": (values, labels), "flat": (single.ravel(), labels),
              "text_labels": (single, labels.astype(str)), "pickled": (np.array([evil], object), labels)}  # fmt: skip
    for name, (v, n) in arrays.items():
        np.savez(tmp_path / f"{name}.npz", features=v, labels=n)
    np.savez(tmp_path / "keys.npz", values=values, labels=labels)
    np.savez_compressed(tmp_path / "bomb.npz", features=np.zeros((9999, 99), np.float32), labels=np.zeros(9999, int))
    before = set(tmp_path.iterdir())
    for name in (*contents, *arrays, "claim", "keys", "bomb", "gone", "."):
        file = tmp_path / (f"{name}.npz" if name != "." else name)
        word = "does not exist" if name in ("gone", ".") else "not a whole file of features.save"
        done = call("features/embed.py", "--dataset", "digits", "--features", file, "--out", tmp_path / "f.png")
        assert len(one_line_error(done, str(file), word)) < 400
        assert set(tmp_path.iterdir()) == before, name


def test_mistakes_are_one_line_and_leave_no_file(call, digits, tmp_path):
    values, labels = clusters(10, 12)
    good = save(digits[0], tmp_path / "good.pt")
    file = npz(tmp_path / "f.npz", values, labels)
    made = {
        "three": (values[:3], labels[:3]), "narrow": (values[:, :1], labels),
        "same": (np.ones_like(values), labels), "nan": (np.where(values > 9, np.nan, values), labels),
        "high": (values, labels + 1),
    }  # fmt: skip
    for name, arrays in made.items():
        npz(tmp_path / f"{name}.npz", *arrays)
    data = load(data_set("digits"), "", train=True)
    balanced = np.concatenate([np.flatnonzero(data.labels == c)[:5] for c in range(10)])
    np.save(tmp_path / "balanced.npy", np.sort(balanced))
    (tmp_path / "file").write_text("")
    npzs, pts = ["--dataset", "digits", "--features"], [*DIGITS, "--checkpoint"]
    before = set(tmp_path.iterdir())
    for options, *words in (
        (["--dataset", "digits"], "one of --checkpoint and --features"),
        ([*pts, good, "--features", file], "one of --checkpoint and --features"),
        ([*npzs, tmp_path / "three.npz"], "3 images of 20 features", "too few"),
        ([*npzs, tmp_path / "narrow.npz"], "120 images of 1 features", "too few"),
        ([*npzs, file, "--images", 0], "--images"),
        ([*npzs, file, "--seed", 2**32], "--seed"),
        ([*npzs, tmp_path / "same.npz"], "the same"),
        ([*npzs, tmp_path / "nan.npz"], "not finite"),
        ([*npzs, tmp_path / "high.npz"], "high.npz", "labels outside 0..9", "not of digits"),
        ([*npzs, file, "--colour", "group"], "--groupSplit LIST"),
        ([*pts, good, "--colour", "group"], "--groupSplit LIST"),
        ([*npzs, file, "--colour", "class", "--groupSplit", D_I], "--colour group"),
        ([*npzs, file, "--groupSplit", "balanced.npy"], "balanced.npy", "have 5 images", "long-tailed"),
        ([*npzs, file, "--groupSplit", "none.npy"], "none.npy"),
        ([*npzs, file, "--groupSplit", file], "f.npz"),
        ([*npzs, file, "--colour", "red"], "--colour"),
        ([*npzs, file, "--method", "umap"], "--method"),
        ([*npzs, file, "--out", tmp_path / "f.svg"], "f.svg", ".png or .pdf"),
        ([*npzs, file, "--method", "pca", "--out", tmp_path / "file/f.png"], "cannot write", "file/f.png"),
        ([*pts, tmp_path / "gone.pt"], "gone.pt", "does not exist"),
    ):
        out = [] if "--out" in options else ["--out", tmp_path / "new.png"]
        line = one_line_error(call("features/embed.py", *options, *out), *words)
        assert not re.search("[^ -~]", line) and len(line) < 700
        assert set(tmp_path.iterdir()) == before, options
    one_line_error(call("features/embed.py", *npzs, file), "--out")


def test_a_class_looks_alike_whatever_others_there_are():
    whole, some = class_styles(list(range(10))), class_styles([2, 5, 9])
    assert all(some[c] == whole[c] for c in some)
    assert len(set(class_styles([3, 40, 77]).values())) == 3
