"""Bad words for benchmarks/soak/cases.py: values of options, contradicting flags, names of experiments."""

import os

IN_SPLIT = "digits_imbSub_with_subsets"
SPLIT = f"{IN_SPLIT}/digits_split1_D_i.npy"
INT = ["-1", "1.5", "x", "", "nan", "inf", "1e3", "99999999999999999999", "9" * 5000, "0x10", "²", "1 2", "--", "True"]
FLOAT = ["x", "", "-1e400", "1e400", "nan", "-inf", "1,5", "0x1p3", "²", "1 2", "-5"]
WORD = ["", "x", "DIGITS", "digits ", "cifar10,digits", "../x", "0", "True", "é"]
FLAG = ["Maybe", "2", "", "Tru", "None", "-1", "é"]
GONE = ["none", "none/none.pt", "", ".", "..", "/", "/dev/null", "/proc/self/mem", "folder", "file", "x" * 300, "fifo"]
TRAIN_INT = ["--seed", "--batch_size", "--num_workers", "--print_freq", "--save_freq", "--mask_save_freq", "--rand_k"]
PROBE_INT = ["--seed", "--test_freq", "--epochs", "--start-epoch", "--test-batch-size", "--log-interval", "--bnNameCnt"]
OPTIONS: dict[str, dict[str, list[str]]] = {
    "train_simCLR.py": {
        **dict.fromkeys([*TRAIN_INT, "--epochs", "--output_ch", "--head_layers", "--local_rank"], INT[:-1]),
        **dict.fromkeys(["--lr", "--weight_decay", "--temperature", "--strength", "--resizeLower", "--focal_gamma",
                         "--momentum_loss_beta", "--rand_strength", "--rand_floor", "--prune_percent"], FLOAT),
        **dict.fromkeys(["--dataset", "--model", "--optimizer", "--scheduler", "--precision", "--augment"], WORD),
        **dict.fromkeys(["--prune", "--prune_dual_bn", "--bcl", "--focal", "--resume", "--compile", "--tf32"], FLAG),
        **dict.fromkeys(["--checkpoint", "--trainSplit", "--save-dir"], GONE[1:2] + GONE[8:]),
        "--monitor": WORD, "--monitor_freq": INT[:-1], "--tensorboard": FLAG,
    },
    "train_cifar.py": {
        **dict.fromkeys([*PROBE_INT, "--batch-size", "--save-freq", "--image_size"], INT[1:-1]),
        **dict.fromkeys(["--lr", "--wd", "--momentum", "--prune_percent"], FLOAT),
        **dict.fromkeys(["--dataset", "--model", "--fixto", "--protocol", "--precision", "--on_bad_image"], WORD),
        **dict.fromkeys(["--cvt_state_dict", "--test_only", "--no-cuda", "--fixbn", "--resume", "--prune"], FLAG),
        **dict.fromkeys(["--checkpoint", "--trainSplit", "--valiSplit", "--groupSplit", "--save-dir"], GONE[8:]),
        "--decreasing_lr": ["x", "1;2", "1.5", "nan", "10,,x", "²"],
    },
    "train_imagenet.py": {
        **dict.fromkeys([*PROBE_INT, "--batch-size", "--image_size", "--world_size"], INT[1:-1]),
        **dict.fromkeys(["--lr", "--wd", "--momentum"], FLOAT),
        **dict.fromkeys(["--dataset", "--model", "--protocol", "--on_bad_image", "--augment"], WORD),
        **dict.fromkeys(["--fullset", "--unfreeze", "--cvt_state_dict", "--test_only"], FLAG),
        **dict.fromkeys(["--customSplit", "--valiSplit", "--groupSplit", "--data", "--checkpoint"], GONE[8:]),
        "--port": [*INT[:-1], "65536"],
    },
    "exp_analyse.py": {
        **dict.fromkeys(["--dataset", "--method", "--probe", "--paper", "--baseline", "--test"], WORD), "--mix": FLAG,
        "--splits": INT[1:-1], "--epochs": INT[1:-1], "--LT": FLAG, "--root": GONE,
        "--shape": ["x", "[", "../x", "(", "*"], "--contains": ["", "x", "["],
        "--experiments": ["", "["], "--plot": GONE, "--out": GONE,
    },
    "recipes.pretrained": {"--max_gb": FLOAT, "--root": GONE[8:], "--overwrite": FLAG},
    "features.save": {
        "--test-batch-size": INT[:-1], "--image_size": INT[:-1], "--dataset": WORD, "--list": GONE[8:],
        "--checkpoint": GONE, "--out": ["x", "", ".npz/", "file/f.npz", "folder", "x" * 300 + ".npz"], "--model": WORD,
        "--bnNameCnt": INT, "--download": FLAG,
    },
    "features.embed": {
        "--images": INT[:-1], "--seed": INT[:-1], "--test-batch-size": INT[:-1], "--dataset": WORD, "--method": WORD,
        "--colour": WORD, "--list": GONE[8:], "--checkpoint": GONE, "--features": GONE[1:2] + GONE[6:], "--model": WORD,
        "--out": ["x", "", ".png/", "file/f.png", "x.svg", "x" * 300 + ".png"],
    },
    "tail": {
        "--draws": INT[:-1], "--seed": INT[:-1], "--batch_size": INT[:-1], "--temperature": FLOAT, "--data": [""],
        "--prune_percent": FLOAT, "--scores": [*WORD, "memorisation"], "--mask": GONE, "--trainSplit": GONE[8:],
        "--checkpoint": GONE, "--dataset": WORD, "--model": WORD, "--out": ["file", "x" * 300],
    },
    "features.export": {
        "--checkpoint": GONE, "--model": WORD, "--out": ["", ".", "..", "/", "folder", "file/e.pt", "x" * 300],
    },
    "split.make_splits": {
        "--splits": INT[:-1], "--imb_factor": [*FLOAT, "0.5", "0"], "--shape": WORD, "--scale": ["0.5"],
        "--seed": ["1"], "--dataset": [*WORD, "cifar10", "imagenet", "places"], "--data": [], "--out": ["file"],
    },
    "split.verify": {
        "--dataset": WORD, "--root": GONE, "--labels": GONE[1:2] + GONE[6:], "--data": ["none/none.pt", "file", "none"],
    },
    "split.fetch_published": {
        "--dataset": [*WORD, "digits", "cifar100", "imagenet"], "--out": ["file"], "--overwrite": FLAG,
        "--server": ["", "x", "file:///none", "http://[", "http://127.0.0.1:99999", "ftp://127.0.0.1:9", "http://é", "http://\t"],
    },
    "recipes.launch": {"--nproc_per_node": INT[:-1], "--master_port": ["x", "99999999", "-1"],
                        "--nnodes": ["x", "0:0"]},
    "data.imagenet_extract": {"--train": GONE, "--val": GONE, "--devkit": GONE},
}  # fmt: skip
CONTRADICTIONS = [
    ["train_simCLR.py", "--prune_dual_bn"], ["train_simCLR.py", "--prune", "--focal"],
    ["train_simCLR.py", "--prune", "--prune_percent", "0.1", "--random_prune_percent", "0.5"],
    ["train_simCLR.py", "--bcl", "--rand_strength", "5", "--rand_floor", "9"],
    ["train_simCLR.py", "--augment", "opencv"],
    ["train_cifar.py", "--image_size", "7"], ["train_simCLR.py", "--dataset", "places", "--augment", "batched"],
    ["train_simCLR.py", "--output_ch", "4294967295"], ["train_simCLR.py", "--output_ch", "100000000"],
    ["train_simCLR.py", "--bcl", "--rand_k", "4294967295", "--epochs", "1"], ["train_simCLR.py", "--batch_size", "1"],
    ["train_simCLR.py", "--temperature", "1e-300", "--epochs", "1"], ["train_simCLR.py", "--head_layers", "99"],
    ["train_cifar.py", "--protocol", "bcl-full", "--valiSplit", "test"], ["train_cifar.py", "--start-epoch", "5"],
    ["train_cifar.py", "--test_only"], ["train_cifar.py", "--bnNameCnt", "1", "--checkpoint", "CHECKPOINT"],
    ["train_cifar.py", "--checkpoint", "CHECKPOINT"], ["train_cifar.py", "--prune", "--prune_percent", "1"],
    ["train_cifar.py", "--trainSplit", SPLIT, "--valiSplit", SPLIT], ["train_cifar.py", "--dataset", "cifar100"],
    ["train_imagenet.py", "--fullset", "--customSplit", "ImageNet_100_train"], ["train_imagenet.py", "--test_only"],
    ["train_imagenet.py", "--world_size", "2"],
    ["train_imagenet.py", "--dataset", "places", "--protocol", "bcl-50shot"],
    ["exp_analyse.py", "--baseline", "focal"],
    ["exp_analyse.py", "--paper", "bcl", "--prune"], ["exp_analyse.py", "--dataset", "imagenet", "--shape", "exp"],
    ["split.make_splits", "--scale", "0.5"], ["split.make_splits", "--shape", "pareto", "--alpha", "1e-300"],
    ["split.make_splits", "--shape", "pareto", "--alpha", "0"], ["split.make_splits", "--splits", "4294967296"],
    ["split.make_splits", "--dataset", "places", "--download"],
    ["split.verify", "--labels", "x.npy", "--dataset", "places"],
    ["recipes.pretrained", "x"], ["features.save", "--bnNameCnt", "1"], ["features.save", "--list", "none.npy"],
    ["features.embed", "--features", "f.npz"], ["features.embed", "--images", "3"],
    ["features.embed", "--bnNameCnt", "1"],
    ["tail", "--scores", "memorisation"], ["tail", "--mask", "CHECKPOINT"],
    ["tail", "--model", "res18"],
    ["features.export", "--model", "res18"], ["features.export", "--out", "CHECKPOINT"],
    ["data.imagenet_extract", "--val", "file"],
    ["data.imagenet_extract", "--train", "file"], ["recipes.launch", "none.py"], ["recipes.launch", "none.py", "--x"],
]  # fmt: skip
EXPERIMENTS = ["", " ", "../x", "../../x", "/soak-x", "a/../../b", ".", "..", "a\x1bb", "a\nb",
               os.fsdecode(b"a\xff"), "a\x7f", "x" * 300, "a/" * 3000, "./..", "a/./../.."]  # fmt: skip
