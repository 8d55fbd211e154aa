#!/usr/bin/env bash
# Fashion-MNIST: the published CIFAR recipe on 28-pixel images, for a small network. No published numbers.
# Time: 51 s an epoch of SimCLR on two CPU cores, so about 3 hours of pre-training; only 3 epochs were run.
# Data: --data DIR with torchvision's or Debian's files (package dataset-fashion-mnist), or --download True.
#
#   ./cmds/shell_scrips/fashion-mnist-LT.sh --data /usr/share/datasets/fashion-mnist --split fashion_mnist_split1_D_i
#   ... [--method NAME, of docs/methods.md] [--paper bcl, for the settings and probes of BCL's paper]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset fashion_mnist --model res20_s --epochs 200 \
    --batch_size 512 --lr 0.5 --temp 0.2 --seed 10 --prune_percent 0.9 --split fashion_mnist_split1_D_i \
    --data datasets --workers 5 -- "$@"
