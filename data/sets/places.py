"""Places-LT: Places365-Standard by lists, a line `<path below the data folder> <label>` an image."""

from data.sets.files import FileSet

PLACES = FileSet(
    "places", classes=365, folder="Places_LT",
    train_list="Places_train", val_list="Places_LT_val", test_list="Places_val",
    few_shot="Places_sub_balance_train_0.01", few_per_class=49,
    long_tailed=(("Places_LT_train", "Places_BL_train"),), probe_list="Places_LT_train",
    download="Places365-Standard, small images (256x256), easy directory (places365standard_easyformat.tar): "
    "train/airfield/*.jpg and val/airfield/*.jpg", hundred_shot="Places_split1_test_100shot",
    recipe="places-res50-LT.sh",
)  # fmt: skip
