"""Data sets of image files that are named by lists: ImageNet-100-LT, ImageNet-LT and Places-LT.

A list has a line `<path below the data folder> <label>` for each image, as published.
"""

from data.sets.base import ListSpec

_ILSVRC = "ILSVRC2012 (ImageNet-1k): train/n01440764/*.JPEG and val/n01440764/*.JPEG (data.imagenet_extract makes them)"

LIST_SPECS = {
    s.name: s
    for s in (
        ListSpec(
            "imagenet-100", 100, "imagenet-100", "ImageNet_100_train", "ImageNet_100_val", "ImageNet_100_test",
            "imageNet_100_sub_balance_train_0.01", (("imageNet_100_LT_train", "imageNet_100_BL_train"),),
            "ImageNet_100_train", _ILSVRC, few_per_class=12,
        ),
        ListSpec(
            "imagenet", 1000, "ImageNet_LT", "ImageNet_train", "ImageNet_LT_val", "ImageNet_LT_test",
            "imageNet_sub_balance_train_0.01",
            (("imageNet_LT_exp_train", "imageNet_BL_exp_train"), ("ImageNet_LT_train", "ImageNet_BL_train")),
            "ImageNet_LT_train", _ILSVRC, few_per_class=12, hundred_shot="ImageNet_split1_test_100shot",
        ),
        ListSpec(
            "places", 365, "Places_LT", "Places_train", "Places_LT_val", "Places_val",
            "Places_sub_balance_train_0.01", (("Places_LT_train", "Places_BL_train"),), "Places_LT_train",
            "Places365-Standard, small images (256x256), easy directory (places365standard_easyformat.tar): "
            "train/airfield/*.jpg and val/airfield/*.jpg", few_per_class=49, hundred_shot="Places_split1_test_100shot",
        ),
    )
}  # fmt: skip

# What train_simCLR.py calls them -> the data set, and the list that it pre-trains on by default.
PRETRAIN_LISTS = {
    "imagenet-100": ("imagenet-100", LIST_SPECS["imagenet-100"].default),
    "imagenet-LT": ("imagenet", LIST_SPECS["imagenet"].default),
    "imagenet-FULL": ("imagenet", LIST_SPECS["imagenet"].train),
    "places": ("places", LIST_SPECS["places"].default),
}
