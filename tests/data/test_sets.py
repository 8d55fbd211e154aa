"""What data sets answer about the names of their lists."""

import pytest

from data.sets.base import Split
from data.sets.registry import data_set, data_sets, trained_on
from split.lists import known_sizes, origin_here
from utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("cifar10", "cifar10_imbSub_with_subsets/split1_D_i.npy", Split(1, True, "")),
        ("cifar10", "/a/split12_D_b.npy", Split(12, False, "")),
        ("cifar10", "split1_pareto6_imb100_D_i", Split(1, True, "pareto6_imb100")),
        ("cifar10", "cifar100_split1_D_i", None),
        ("cifar100", "cifar100_split5_D_b", Split(5, False, "")),
        ("cifar100", "split5_D_b", None),
        ("digits", "digits_split1_S_b.npy", None),
        ("digits", "digits/digits_trainIdxList.npy", None),
        ("digits", "", None),
        ("imagenet", "imageNet_LT_exp_train", Split(1, True, "")),
        ("imagenet", "split/imagenet/ImageNet_LT_train.txt", Split(1, True, "pareto")),
        ("imagenet", "ImageNet_BL_train.txt", Split(1, False, "pareto")),
        ("imagenet", "ImageNet_train", None),
        ("places", "Places_LT_train_mine", None),
    ],
)
def test_the_split_of_a_list(name, path, expected):
    assert data_set(name).split_of(path) == expected


@pytest.mark.parametrize("dataset", [d for d in data_sets().values() if not d.own], ids=lambda dataset: dataset.name)
def test_names_of_splits_are_read_back(dataset):
    for n in dataset.splits:
        for long_tailed in (True, False):
            for shape in ("", "imb50") if dataset.style == "cifar" else ("", "pareto")[: len(dataset.long_tailed)]:
                name = dataset.split_name(n, long_tailed, shape)
                if dataset.style == "cifar":
                    name = dataset.split_list(f"{name}_D_{'i' if long_tailed else 'b'}")
                assert dataset.split_of(name) == (n, long_tailed, shape)
                # The same long-tailed list as by the name of an experiment.
                tailed = dataset.tailed_list(dataset.split_of(name))
                assert dataset.split_of(tailed) == (n, True, shape)
                stem = name.split("/")[-1].removesuffix(".npy")
                assert dataset.grouping_list(f"m_epoch1_{stem}_newNT" if "/" in name else f"{stem}_res50_x") == tailed


def test_what_a_pretraining_was_trained_on():
    found = {name: trained_on({"dataset": name})[1] for name in ("cifar", "digits", "imagenet-LT", "imagenet-FULL")}
    assert found == {"cifar": "cifar10/trainIdxList.npy", "digits": "digits/digits_trainIdxList.npy",
                     "imagenet-LT": "ImageNet_LT_train", "imagenet-FULL": "ImageNet_train"}  # fmt: skip
    assert trained_on({"dataset": "places", "imagenetCustomSplit": "x", "trainSplit": "y"})[1] == "x"
    with pytest.raises(InputError):
        trained_on({})


def test_lists_that_are_not_here_tell_nothing():
    assert origin_here("nothing.npy", data_set("digits")) == origin_here("no\0name", data_set("places")) == {}
    assert known_sizes("Places_LT_train_x", data_set("places")) is None
    assert known_sizes("digits_imbSub_with_subsets/digits_split1_D_i.npy", data_set("digits")) is None
    assert sum(known_sizes("imageNet_100_LT_train", data_set("imagenet-100"))) == 12205
