"""What the names of experiments tell, of the papers' scripts and of the recipes."""

import pytest

from run.names import read_name

MEMORY = "res18_cifar100_scheduling_sgd_temp0.2_wd1e-4_lr0.5_b512_o128_twolayerProj_epoch2000_cifar100_split1_D_i_newNT"
FILES = "imageNet_100_LT_train_res50_scheduling_sgd_lr0.5_temp0.2_epoch500_batch256"
FEW = "imageNet_100_sub_balance_train_0.01"


@pytest.mark.parametrize(
    ("pretraining", "probe", "expected"),
    [
        (f"{MEMORY}_s10", "f2layer4_d10d20_wd0_lr30_freezeBN", ("", "", "")),
        (f"{MEMORY}_s10_pruneP0.9DualBN", "cifar100_split1_S_b_f2layer4_d40", ("_pruneP0.9DualBN",
                                                                                "cifar100_split1_S_b", "")),
        (f"{MEMORY}_s10_bclK1", "bcl-100shot", ("_bclK1", "", "bcl-100shot")),
        (f"{MEMORY}_s10", "linear-100", ("", "", "linear-100")),
    ],
)  # fmt: skip
def test_images_in_memory(pretraining, probe, expected):
    found = read_name(f"{pretraining}__{probe}", "cifar")
    assert (found.method, found.labelled, found.protocol) == expected
    assert (found.pretraining, found.list, found.epochs) == (pretraining, "cifar100_split1_D_i", 2000)


@pytest.mark.parametrize(
    ("method", "probe", "expected"),
    [
        ("", "lr30_wd0_epoch30_b512_d10d20_s1", ("", "")),
        ("_pruneP0.3DualBN", f"{FEW}_lr30_wd0_epoch100", (FEW, "")),
        ("_focal2", "bcl-full", ("", "bcl-full")),
    ],
)
def test_image_files(method, probe, expected):
    found = read_name(f"{FILES}{method}__{probe}", "imagenet")
    assert (found.labelled, found.protocol) == expected
    assert found[:4] == (FILES + method, "imageNet_100_LT_train", 500, method)


def test_lists_of_another_shape():
    assert read_name("m_epoch1_split2_pareto6_imb100_D_b_newNT_s1__f2layer4_x", "cifar").list == (
        "split2_pareto6_imb100_D_b"
    )


@pytest.mark.parametrize("name", [
    "", "mine", "mine__f2layer4_x", f"{MEMORY}_s10", f"{MEMORY}_s10__", f"{MEMORY}_s10__split2_S_b_f2layer4_x",
    f"{MEMORY}_s10__lr30_wd0_x", MEMORY.replace("epoch2000", "epoch") + "_s10__f2layer4_x",
])  # fmt: skip
def test_other_names(name):
    """Of another kind of data set, of no probe, of a few-shot list of another split, of nobody's."""
    found = read_name(name, "cifar")
    assert found is None or found.protocol
    assert read_name(name, "imagenet") is None
