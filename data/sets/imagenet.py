"""ImageNet-100-LT and ImageNet-LT: ILSVRC2012 by lists, a line `<path below the data folder> <label>` an image."""

from data.sets.files import FileSet

_ILSVRC = "ILSVRC2012 (ImageNet-1k): train/n01440764/*.JPEG and val/n01440764/*.JPEG (data.imagenet_extract makes them)"

IMAGENET_100 = FileSet(
    "imagenet-100", classes=100, folder="imagenet-100",
    train_list="ImageNet_100_train", val_list="ImageNet_100_val", test_list="ImageNet_100_test",
    few_shot="imageNet_100_sub_balance_train_0.01", few_per_class=12,
    long_tailed=(("imageNet_100_LT_train", "imageNet_100_BL_train"),), probe_list="ImageNet_100_train",
    download=_ILSVRC, published_name="ImageNet-100", recipe="imagenet-100-res50-LT.sh",
)  # fmt: skip

IMAGENET = FileSet(
    "imagenet", classes=1000, folder="ImageNet_LT",
    train_list="ImageNet_train", val_list="ImageNet_LT_val", test_list="ImageNet_LT_test",
    few_shot="imageNet_sub_balance_train_0.01", few_per_class=12,
    long_tailed=(("imageNet_LT_exp_train", "imageNet_BL_exp_train"), ("ImageNet_LT_train", "ImageNet_BL_train")),
    probe_list="ImageNet_LT_train", download=_ILSVRC, hundred_shot="ImageNet_split1_test_100shot",
    recipe="imagenet-res50-LT.sh",
)  # fmt: skip
