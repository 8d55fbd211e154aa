"""Tail discovery: each score against loops in float64, rankings and their evaluation by hand, files, and bad input."""

import argparse
import copy
import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import split.ensure
import split.lists
import split.open
import tail.__main__
import tail.flags
from data.images import ImageFiles, ImageSet
from data.loader import BatchedLoader
from data.paths import Paths
from data.sets.memory import load
from data.sets.registry import data_set
from models.mask import compute_masks
from split.lists import read_path_list
from tail import scores
from tail.figures import ACROSS, GREY, sheet
from tail.ranks import evaluate, ranking, to_csv
from tail.scores import full_batches
from tests.conftest import one_line_error, slow_but
from tests.figure_checks import figures  # noqa: F401
from tests.oracles import nt_xent_loops
from tests.probe.test_on_features import centre, choose, network, tensors
from tests.trees import make_tree, names, training_of

D_I = "digits_imbSub_with_subsets/digits_split1_D_i.npy"
COUNTS = [31, 16, 120, 22, 44, 6, 61, 11, 8, 86]
PLACES = data_set("places")
CONFIG = {"dataset": "digits", "data": "", "trainSplit": "tail.npy", "model": "res20_s", "batch_size": 16,
          "temperature": 0.2, "seed": 3, "resizeLower": 0.4, "augment": "batched", "prune": True, "prune_percent": 0.5,
          "image_size": 16, "head_layers": 2, "output_ch": 16}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder that takes the place of split/, with a short long-tailed list of digits."""
    root = tmp_path_factory.mktemp("split")
    with pytest.MonkeyPatch.context() as patch:
        replace_lists(patch, root)
        data = load(data_set("digits"), "", train=True)
        whole = np.load(split.ensure.ensure_list(D_I, data.dataset, data.labels, root))
        np.save(root / "tail.npy", whole[::9])
        np.save(root / "other.npy", whole[1::9])
    return root


def replace_lists(patch, root) -> None:
    patch.setattr(split.lists, "ROOT", root)
    patch.setattr(split.open, "ROOT", root)


@pytest.fixture
def lists(root, monkeypatch):
    replace_lists(monkeypatch, root)
    return root


@pytest.fixture
def whole_figures(figures):  # noqa: F811
    figures.watch(tail.__main__)
    return figures


def of_list(root, name="tail.npy"):
    """Indices, images and labels of a list of digits."""
    data, chosen = load(data_set("digits"), "", train=True), np.load(root / name)
    return chosen, data.images[chosen], data.labels[chosen]


def save(model: nn.Module, path, config=CONFIG, **more):
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    torch.save({"epoch": 7, "state_dict": state, "optim": {}, **({"config": config} if config else {}), **more}, path)
    return path


def memory(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    loss = torch.rand(n, generator=torch.Generator().manual_seed(seed)) + 3
    return {"momentum_loss": loss, "epochs": torch.full((n,), 7)}


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_id(path) -> np.ndarray:
    """Scores in the order of the list; checks that the file is the ranking."""
    rows = rows_of(path)
    assert [row["rank"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    keys = [(-float(row["score"] or "-inf"), int(row["sample_id"])) for row in rows]
    assert keys == sorted(keys)
    return np.array([float(r["score"] or "nan") for r in sorted(rows, key=lambda row: int(row["sample_id"]))])


# ---- oracles


def masks_by_sorting(model: nn.Module, share: float) -> dict[str, torch.Tensor]:
    weights = {n: m.weight.detach() for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    every = sorted(abs(w) for weight in weights.values() for w in weight.flatten().tolist())
    least = every[int(np.ceil(share * len(every)))]
    return {n: w.abs() >= least for n, w in weights.items()}


def with_masks(model: nn.Module, masks: dict[str, torch.Tensor]) -> nn.Module:
    """A copy in float64 whose weights are gone where the mask is false."""
    other = copy.deepcopy(model).double()
    with torch.no_grad():
        for name, mask in masks.items():
            other.get_submodule(name).weight.mul_(mask)
    return other.eval()


@torch.no_grad()
def projections(model: nn.Module, images) -> np.ndarray:
    """[N, D] of one image after the other, of length 1."""
    found = np.stack([model.eval()(image[None].double())[0].numpy() for image in images])
    return found / np.sqrt((found**2).sum(1, keepdims=True))


def views_of(args, draw: int):
    """Batches (ids, views [n, 2, 3, H, W]) of a pass, the last one filled up, by the training's own loader."""
    data = training_of(args).images
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(args.seed + draw)).tolist()
    if args.augment == "batched":
        every = [(draw, i) for i in range(len(data))]
        views = next(iter(BatchedLoader(data, every, len(data), torch.device("cpu")))).views
    else:
        views = torch.stack([data[draw, i][0] for i in range(len(data))])
    full = args.batch_size
    for start in range(0, len(data), full):
        ids = order[start : start + full]
        if len(data) > full:
            ids = ids + order[: full - len(ids)]
        yield ids, views[ids]


def loss_by_loops(model: nn.Module, args, draws: int) -> np.ndarray:
    total, model = {}, copy.deepcopy(model).double().eval()
    for draw in range(1, draws + 1):
        seen = set()
        for ids, views in views_of(args, draw):
            with torch.no_grad():
                z = model(views.flatten(0, 1).double())
            losses = nt_xent_loops(z[0::2], z[1::2], args.temperature)
            for i, loss in zip(ids, losses.tolist(), strict=True):
                if i not in seen:
                    total[i] = total.get(i, 0) + loss / draws
                seen.add(i)
    return np.array([total[i] for i in range(len(total))])


# ---- scores


@pytest.mark.slow
def test_dual_batch_norm_and_the_loss_equal_loops_over_images(call, lists, tmp_path, whole_figures):
    """SDCLR with BCL's memory: all three scores, files and figures; a second run writes the same."""
    model, (chosen, images, labels) = network("res20_s", dual_bn=True), of_list(lists)
    kept = memory(len(chosen))
    kept["epochs"][[2, 5]] = 0
    checkpoint = save(model, tmp_path / "model.pt", memory=kept)
    done = call("tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--draws", 2)
    assert done.returncode == 0, done.stderr
    assert "2 of 45 images have no memorisation score" in done.stdout
    out = tmp_path / "out"

    pixels = tensors(images)
    dense = projections(choose(model, 0).double(), pixels)
    sparse = projections(choose(with_masks(model, masks_by_sorting(model, 0.5)), 1), pixels)
    model.float()
    np.testing.assert_allclose(by_id(out / "disagreement.csv"), 1 - (dense * sparse).sum(1), rtol=1e-3, atol=1e-5)

    known = [i for i in range(len(chosen)) if i not in (2, 5)]
    losses = kept["momentum_loss"].double().numpy()[known]
    furthest = max(abs(loss - losses.mean()) for loss in losses)
    found = by_id(out / "memorisation.csv")
    np.testing.assert_allclose(found[known], (1 + (losses - losses.mean()) / furthest) / 2, rtol=1e-5)
    last = rows_of(out / "memorisation.csv")[-2:]
    assert [(row["sample_id"], row["score"], row["rank"]) for row in last] == [("2", "", "44"), ("5", "", "45")]

    args, _ = tail.flags.parse("", ["--checkpoint", str(checkpoint), "--out", str(out)])
    np.testing.assert_allclose(by_id(out / "loss.csv"), loss_by_loops(choose(model, 0), args, 2), rtol=1e-4)

    for row in rows_of(out / "loss.csv"):
        i = int(row["sample_id"])
        assert row["path"] == str(chosen[i]) and row["class"] == str(labels[i])
    assert whole_figures.keys() >= {"tail.png", "tail.pdf", "loss_sheet.png", "memorisation_sheet.png"}
    assert all((out / name).stat().st_size > 1000 for name in whole_figures)
    numbers = json.loads((out / "tail.json").read_text())
    assert list(numbers) == ["disagreement", "memorisation", "loss"]
    for name in numbers:
        few = [r for r in rows_of(out / f"{name}.csv") if r["score"] and r["group"] != "Medium"]
        pairs = [(a, b) for a in few for b in few if (a["group"], b["group"]) == ("Few", "Many")]
        higher = [float(a["score"]) > float(b["score"]) for a, b in pairs]
        assert numbers[name]["auc"] == pytest.approx(np.mean(higher), abs=1e-6)
    assert "45 images" in (out / "tail.txt").read_text()

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert call("tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--draws", 2).returncode == 0
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    done = call(
        "tail/__main__.py", "--checkpoint", checkpoint, "--out", "b", "--draws", 2, "--seed", 4, "--scores", "loss"
    )
    assert done.returncode == 0 and (tmp_path / "b" / "loss.csv").read_bytes() != before["loss.csv"]
    assert not (tmp_path / "b" / "disagreement.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dual", slow_but(False, [False, True]))
def test_scores_of_bfloat16_and_batched_views(call, lists, tmp_path, dual):
    """Views are float32 whatever the network computes in; the scores have bfloat16's rounding."""
    checkpoint = save(network("res20_s", dual_bn=dual), tmp_path / "model.pt", {**CONFIG, "prune": dual})
    options = ["--checkpoint", checkpoint, "--scores", "disagreement", "loss", "--num_workers", 0, "--draws", 1]
    found = {}
    for precision in ("fp32", "bf16"):
        done = call("tail/__main__.py", *options, "--out", tmp_path / precision, "--precision", precision)
        assert done.returncode == 0, done.stderr
        found[precision] = [by_id(tmp_path / precision / f"{name}.csv") for name in ("disagreement", "loss")]
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.1, atol=0.05)


@pytest.mark.slow
def test_single_batch_norm_gets_the_pruned_networks_statistics(call, lists, tmp_path):
    model, (_, images, _) = network("res20_s"), of_list(lists)
    checkpoint = save(model, tmp_path / "model.pt", {**CONFIG, "prune": False})
    options = ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--scores", "disagreement", "--augment", "pillow"]
    assert call("tail/__main__.py", *options, "--num_workers", 0).returncode == 0
    args, _ = tail.flags.parse("", list(map(str, options)))
    assert args.prune_percent == 0.9  # not 0.5, which this checkpoint was not trained with
    sparse = with_masks(model, masks_by_sorting(model, 0.9))
    # All batch norms' inputs, batch by batch, one after the other: the averages of the batches' statistics.
    norms = [m for m in sparse.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    sums = [[0, 0] for _ in norms]

    def note(i):
        def hook(module, inputs):
            x = inputs[0].transpose(0, 1).flatten(1)
            sums[i][0] += x.mean(1)
            sums[i][1] += x.var(1)

        return hook

    handles = [norm.register_forward_pre_hook(note(i)) for i, norm in enumerate(norms)]
    batches = list(views_of(args, 0))
    with torch.no_grad():
        for _, views in batches:
            sparse.train()(views.flatten(0, 1).double())
    for norm, handle, (mean, variance) in zip(norms, handles, sums, strict=True):
        handle.remove()
        norm.running_mean, norm.running_var = mean / len(batches), variance / len(batches)
    pixels = tensors(images)
    expected = 1 - (projections(copy.deepcopy(model).double(), pixels) * projections(sparse, pixels)).sum(1)
    np.testing.assert_allclose(by_id(tmp_path / "out" / "disagreement.csv"), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_mask_of_a_file_is_used_and_others_are_refused(call, lists, tmp_path):
    model, (_, images, _) = network("res20_s", dual_bn=True), of_list(lists)
    checkpoint = save(model, tmp_path / "model.pt")
    convolutions = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(w.shape, generator=generator) > 0.3 for name, w in convolutions.items()}
    torch.save({"epoch": 7, "pruneMask": {f"module.{k}": v for k, v in masks.items()}}, tmp_path / "mask_7.pt")
    command = ["tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--scores", "disagreement", "--mask"]
    assert call(*command, tmp_path / "mask_7.pt").returncode == 0
    pixels = tensors(images)
    dense = projections(choose(copy.deepcopy(model), 0).double(), pixels)
    sparse = projections(choose(with_masks(model, masks), 1), pixels)
    np.testing.assert_allclose(
        by_id(tmp_path / "out/disagreement.csv"), 1 - (dense * sparse).sum(1), rtol=1e-3, atol=1e-5
    )
    torch.save({"epoch": 7, "pruneMask": dict(list(masks.items())[1:])}, tmp_path / "short.pt")
    one_line_error(call(*command, tmp_path / "short.pt"), "mask", "another model")
    one_line_error(call(*command, checkpoint), "pruneMask")
    one_line_error(call(*command, tmp_path / "none.pt"), "none.pt", "does not exist")


@pytest.mark.slow
def test_the_authors_checkpoints_take_their_settings_from_the_command_line(call, lists, tmp_path):
    """BCL's names, no settings, a head of another width; the same numbers as ours with settings."""
    model = network("res20_s")
    state = {("backbone." + k).replace("backbone.fc.", "projector."): v for k, v in model.state_dict().items()}
    torch.save({"epoch": 7, "state_dict": state, "optim": {}}, tmp_path / "theirs.pt")
    ours = save(model, tmp_path / "ours.pt")
    command = ["tail/__main__.py", "--checkpoint", tmp_path / "theirs.pt", "--out", "theirs", "--draws", 1]
    flags = ["--dataset", "digits", "--trainSplit", "tail.npy", "--model", "res20_s"]
    for i in range(0, 6, 2):
        one_line_error(call(*command, *flags[:i], *flags[i + 2 :]), "give " + flags[i])
    flags += ["--batch_size", 16, "--seed", 3, "--resizeLower", 0.4, "--prune_percent", 0.5]
    done = call(*command, *flags)
    assert done.returncode == 0, done.stderr
    assert "memorisation is left out" in done.stdout
    assert call("tail/__main__.py", "--checkpoint", ours, "--out", "ours", "--draws", 1).returncode == 0
    for name in ("disagreement.csv", "loss.csv"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()


@pytest.mark.parametrize(("images", "batch"), [(10, 4), (12, 4), (3, 4), (9, 8), (5, 5)])
def test_every_image_comes_once_and_the_last_batch_is_full(images, batch):
    sampler = full_batches(images, batch, seed=1)
    sampler.set_epoch(2)
    order = list(sampler)
    assert len(order) == len(sampler) and all(epoch == 2 for epoch, _ in order)
    ids = [i for _, i in order]
    assert sorted(ids[:images]) == list(range(images)) and ids[images:] == ids[: len(ids) - images]
    assert len(ids) % batch == 0 or len(ids) == images < batch
    for start in range(0, len(ids), batch):
        assert len(set(ids[start : start + batch])) == len(ids[start : start + batch])
    sampler.set_epoch(3)
    assert sorted(i for _, i in sampler)[:1] == [0] and (images < 4 or list(sampler) != order)


@pytest.mark.slow
def test_memory_of_a_training_names_the_images_that_it_is_of(call, lists, tmp_path, monkeypatch):
    """The two views of a black image are the same, so its losses are the lowest from the first epoch on.

    At a rate of 0: what a network learns in some steps depends on how the first of them was rounded.
    """
    chosen, black = of_list(lists)[0], [7, 41]
    whole = load(data_set("digits"), "", train=True)
    images = whole.images.copy()
    images[chosen[black]] = 0
    monkeypatch.setattr("data.opened.load", lambda *_, **__: ImageSet(whole.dataset, images, whole.labels))
    run = "train_simCLR.py run --dataset digits --trainSplit tail.npy --model res20_s --bcl --batch_size 16 --epochs 3"
    run += " --optimizer sgd --lr 0 --temperature 0.2 --precision fp32"
    done = call(*run.split(), "--save-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    done = call("tail/__main__.py", "--checkpoint", "run/model.pt", "--out", "out", "--scores", "memorisation")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out/memorisation.csv")
    assert sorted(int(row["sample_id"]) for row in rows[-2:]) == black
    assert sorted(row["path"] for row in rows[-2:]) == sorted(str(i) for i in chosen[black])
    assert float(rows[-3]["score"]) - float(rows[-2]["score"]) > 0.01  # nothing that rounding could turn round


@pytest.mark.parametrize("prefix", ["", "method.", "method.method."])
def test_memory_of_bcl_within_other_wrappers(prefix):
    losses, epochs = torch.tensor([3.0, 1.0, 2.0, 9.0]), torch.tensor([2, 2, 2, 0])
    memory = {f"{prefix}momentum_loss": losses, f"{prefix}epochs": epochs, "queue": torch.zeros(7)}
    found = scores.memorisation(memory, 4, "model.pt")
    assert found[:3].tolist() == [1.0, 0.0, 0.5] and found[3].isnan()
    assert scores.memory_of_losses({"queue": torch.zeros(7)}) is None


# ---- rankings


def test_ranks_ties_and_images_without_a_score():
    assert ranking(np.array([1.0, np.nan, 3.0, 1.0, np.nan, 2.0])).tolist() == [2, 5, 0, 3, 1, 4]


def test_evaluation_by_hand():
    groups = np.array(["Few", "Many", "Medium", "Many", "Few", "Many", "Medium", "Many", "Many", "Few"])
    scores = np.array([0.9, 0.8, 0.95, 0.3, 0.5, 0.5, 0.1, 0.2, np.nan, np.nan])
    found = evaluate(scores, groups)
    # Few 0.9 and 0.5 against Many 0.8, 0.3, 0.5, 0.2: 4 pairs, and 2 and a tie.
    assert found["auc"] == pytest.approx(6.5 / 8)
    assert (found["k"], found["precision"], found["unscored"]) == (2, 0.5, 2)
    assert found["chance"] == pytest.approx(2 / 6)
    shares = found["shares"]
    assert shares["all"] == {"images": 8, "Many": 0.5, "Medium": 0.25, "Few": 0.25}
    assert shares["10%"] == shares["1%"] == {"images": 1, "Many": 0.0, "Medium": 1.0, "Few": 0.0}
    many = evaluate(scores[:-1], np.where(groups == "Few", "Medium", groups)[:-1])
    assert many["auc"] is None and many["precision"] is None


def test_top_shares_count_whole_images():
    groups = np.array(["Few"] * 3 + ["Many"] * 97 + ["Medium"] * 100)
    shares = evaluate(-np.arange(200.0), groups)["shares"]
    assert {k: v["images"] for k, v in shares.items()} == {"all": 200, "10%": 20, "5%": 10, "1%": 2}
    assert shares["10%"]["Few"] == pytest.approx(0.15) and shares["1%"]["Few"] == 1


def test_odd_paths_survive_a_csv_file_and_give_no_formula(tmp_path):
    paths = ["train/a,b.jpg", 'say "x".jpg', "=cmd()|x.jpg", "a\tb\x1b[0m.jpg", "-1.png", "ö.jpg",
             "a  b\u202fc\u200d.jpg"]  # fmt: skip
    content = to_csv(np.arange(7.0)[::-1].copy(), paths, np.arange(7), None)
    (tmp_path / "a.csv").write_bytes(content)
    found = [row["path"] for row in rows_of(tmp_path / "a.csv")]
    assert found == [*paths[:2], "./=cmd()|x.jpg", "a\\tb\\x1b[0m.jpg", "./-1.png", *paths[5:]]
    assert "group" not in rows_of(tmp_path / "a.csv")[0]


def test_a_list_without_a_tail_is_ranked_and_not_evaluated(call, lists, tmp_path):
    data = load(data_set("digits"), "", train=True)
    even = np.load(lists / "digits_imbSub_with_subsets" / "digits_split1_D_b.npy")
    chosen = np.concatenate([even[data.labels[even] == c][:3] for c in range(10)])
    np.save(tmp_path / "even.npy", np.sort(chosen))
    checkpoint = save(network("res20_s"), tmp_path / "model.pt", {**CONFIG, "trainSplit": str(tmp_path / "even.npy")})
    done = call("tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--scores", "disagreement")
    assert done.returncode == 0 and "no tail to evaluate by" in done.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"disagreement.csv", "disagreement_sheet.png"}


@pytest.mark.slow
def test_the_study_tabulates_runs(call, lists, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        save(network("res20_s", dual_bn=True), tmp_path / name / "model.pt", {**CONFIG, "seed": seed})
    done = call("benchmarks/tail_study.py", "a", "b", "--draws", 1, "--out", "tail.txt")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "tail.txt").read_text()
    assert re.search(
        r"digits, 45 images, epoch 7 +SDCLR, 50% pruned +2 +0\.\d{3} ± 0\.000 +- +0\.\d{3} ± 0\.\d{3} +0\.5", text
    )
    assert "tail, seed 2: disagreement" in text and str(tmp_path) not in text
    quiet = call("benchmarks/tail_study.py", "a", "b", "--draws", 1, "--out", "tail.txt", "--quiet")
    assert quiet.stdout == f"\n{text}\n" and done.stdout.endswith(quiet.stdout) and done.stdout != quiet.stdout
    one_line_error(call("benchmarks/tail_study.py", "c", "--out", "tail.txt"), "c has no checkpoint")


# ---- image files


@pytest.fixture(scope="module")
def places(root, tmp_path_factory):
    """Images of three scenes, one of them damaged, in a list of Places: 101 to make Many, 25 Medium, 4 Few."""
    tree = make_tree(tmp_path_factory.mktemp("places"), names(3), [101, 25, 4], size=24)
    (root / PLACES.folder).mkdir()
    paths = {part: [(p.relative_to(tree), label) for label, scene in enumerate(names(3), 40)
                    for p in sorted(tree.glob(f"{part}/{scene}/*"))] for part in ("train", "val")}  # fmt: skip
    for name, part in (("Places_LT_train", "train"), (PLACES.test_list, "val")):
        (root / PLACES.path(name)).write_text("".join(f"{path} {label}\n" for path, label in paths[part]))
    return tree


@pytest.mark.slow
def test_image_files(call, lists, places, tmp_path, whole_figures):
    model = network("res10", "imagenet", dual_bn=True)
    config = {**CONFIG, "dataset": "places", "data": "moved", "trainSplit": "trainIdxList.npy", "model": "res10",
              "imagenetCustomSplit": "", "augment": "pillow", "image_size": 16, "batch_size": 50}  # fmt: skip
    checkpoint = save(model, tmp_path / "model.pt", config)
    command = ["tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--draws", 1, "--num_workers", 0]
    one_line_error(call(*command), "'moved' is not a folder", "--data")
    paths = [line.split()[0] for line in (lists / PLACES.path("Places_LT_train")).read_text().splitlines()]
    damaged, whole = places / paths[3], (places / paths[3]).read_bytes()
    damaged.write_bytes(whole[:200])
    try:
        one_line_error(call(*command, "--data", places), paths[3])
        done = call(*command, "--data", places, "--on_bad_image", "skip")
    finally:
        damaged.write_bytes(whole)
    assert done.returncode == 0, done.stderr
    assert "1 of 130 images have no disagreement score" in done.stdout
    found = by_id(tmp_path / "out/disagreement.csv")
    assert np.isnan(found[3]) and np.isnan(by_id(tmp_path / "out/loss.csv")[3])
    numbers = json.loads((tmp_path / "out/tail.json").read_text())
    assert numbers["loss"]["k"] == 4 and numbers["loss"]["shares"]["all"]["images"] == 129
    rows = rows_of(tmp_path / "out/loss.csv")
    assert {row["path"] for row in rows} == set(paths)
    assert {(row["class"], row["group"]) for row in rows} == {("40", "Many"), ("41", "Medium"), ("42", "Few")}

    pixels = centre(places, [paths[i] for i in (0, 60, 129)], 16)
    dense = projections(choose(copy.deepcopy(model), 0).double(), pixels)
    sparse = projections(choose(with_masks(model, compute_masks(model, 0.5)), 1), pixels)
    np.testing.assert_allclose(found[[0, 60, 129]], 1 - (dense * sparse).sum(1), rtol=1e-3, atol=1e-5)


def test_the_sheet_shows_the_right_images(lists, places):
    chosen, images, _ = of_list(lists)
    more = {"download": False, "num_workers": 0, "strength": 1.0, "on_bad_image": "error"}
    data = training_of(argparse.Namespace(**CONFIG, **more)).images
    page = sheet(data.images, np.arange(ACROSS + 1))
    step = page.shape[1] // ACROSS
    for i in range(ACROSS + 1):
        top, left = i // ACROSS * step, i % ACROSS * step
        assert np.array_equal(page[top : top + 16, left : left + 16], images[i])
    assert (page[16:step] == 255).all() and (page[step:, step:] == 255).all()


def test_a_file_that_is_gone_is_grey(places, lists):
    chosen = read_path_list(lists / PLACES.path("Places_LT_train"), PLACES)
    chosen = replace(chosen, paths=Paths([chosen.paths[0], "train/gone.JPEG", *chosen.paths[2:]]))
    files = ImageFiles(str(places), chosen, as_array=True)
    page = sheet(files, np.array([0, 1]))
    size = page.shape[1] // ACROSS * 4 // 5
    assert (page[:size, size * 5 // 4 : size * 9 // 4] == GREY).all()
    pixels = files[0]
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    middle = pixels[top : top + side, left : left + side]
    assert len(np.unique(page[:size, :size].reshape(-1, 3), axis=0)) <= len(np.unique(middle.reshape(-1, 3), axis=0))


# ---- bad input


def test_an_infinite_score_is_none(call, lists, tmp_path, monkeypatch):
    """As of weights or a temperature that overflow for some images."""
    losses = torch.arange(45.0).double()
    losses[[3, 44]] = torch.tensor([torch.inf, -torch.inf]).double()
    monkeypatch.setattr("tail.scores.Network.augmented_loss", lambda *_: losses)
    checkpoint = save(network("res20_s"), tmp_path / "model.pt")
    done = call("tail/__main__.py", "--checkpoint", checkpoint, "--out", "out", "--scores", "loss")
    assert done.returncode == 0 and "2 of 45 images have no loss score" in done.stdout, done.stderr
    assert [row["sample_id"] for row in rows_of(tmp_path / "out/loss.csv") if not row["score"]] == ["3", "44"]


def test_mistakes_are_one_line_and_leave_no_file(call, lists, tmp_path):
    model = network("res20_s")
    good = save(model, tmp_path / "good.pt", images="0")
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    n = len(np.load(lists / "tail.npy"))

    def bad(name, config=CONFIG, **content):
        torch.save({"epoch": 7, "state_dict": state, "config": config, **content}, tmp_path / f"{name}.pt")
        return tmp_path / f"{name}.pt"

    (tmp_path / "file").write_text("")
    (tmp_path / "cut.pt").write_bytes(good.read_bytes()[:3000])
    headless = {k: v for k, v in state.items() if ".fc." not in k}
    nan = {**memory(n), "momentum_loss": torch.full((n,), torch.nan)}
    flags = ["--dataset", "digits", "--trainSplit", "tail.npy", "--model", "res20_s"]
    cases = [
        ([good, "--scores", "memorisation"], "good.pt", "no memory of losses"),
        ([bad("few", memory=memory(n - 1)), "--scores", "memorisation"], "few.pt", "another list"),
        ([bad("nan", memory=nan)], "nan.pt", "damaged"),
        ([bad("new", memory={**memory(n), "epochs": torch.zeros(n, dtype=torch.long)})], "new.pt", "no epoch"),
        ([bad("list", memory=3), "--scores", "memorisation"], "list.pt", "no memory"),
        ([bad("other", {**CONFIG, "images": "0" * 64}, memory=memory(n))], "other.pt", "other images"),
        ([bad("code", {**CONFIG, "model": "__import__('os')"})], "code.pt", "settings of no use", "--model"),
        ([bad("deep", {**CONFIG, "dataset": ["digits"]})], "deep.pt", "dataset"),
        ([bad("long", {**CONFIG, "trainSplit": "x" * 10_000})], "long.pt", "trainSplit"),
        ([bad("line", {**CONFIG, "trainSplit": "a\nb"})], "line.pt", "not text"),
        ([bad("zero", {**CONFIG, "temperature": 0.0})], "--temperature"),
        ([bad("part", {**CONFIG, "prune_percent": 1.5})], "prune_percent must"),
        ([bad("none", {**CONFIG, "trainSplit": "none.npy"})], "none.npy"),
        ([bad("text", "settings")], "--dataset"),
        ([bad("both", "settings", memory=memory(n - 1)), *flags, "--scores", "memorisation"], "another list"),
        ([bad("bare", state_dict=headless)], "bare.pt", "projection head"),
        ([good, "--model", "res32_s"], "good.pt", "another model"),
        ([good, "--out", tmp_path / "file"], "file", "no folder"),
        ([good, "--draws", 0], "--draws"),
        ([good, "--batch_size", 1, "--scores", "loss"], "negatives"),
        ([good, "--scores", "luck"], "luck"),
        ([good, "--dataset", "fashion_mnist", "--data", tmp_path / "gone"], "fashion_mnist", "gone"),
        ([tmp_path / "cut.pt"], "cut.pt", "truncated or damaged"),
        ([tmp_path / "gone.pt"], "gone.pt", "does not exist"),
    ]  # fmt: skip
    before = set(tmp_path.iterdir())
    for options, *words in cases:
        out = [] if "--out" in options else ["--out", tmp_path / "out"]
        line = one_line_error(call("tail/__main__.py", "--checkpoint", *options, *out), *words)
        assert len(line) < 500 and not re.search("Traceback", line)
        assert set(tmp_path.iterdir()) == before, options
