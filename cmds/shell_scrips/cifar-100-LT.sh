#!/usr/bin/env bash
# CIFAR-100: pre-training on a split (long-tailed D_i or balanced D_b), linear probe, few-shot probe.
# Published, D_i, mean of five splits, All / Std: linear SimCLR 47.11 / 3.09, SDCLR 55.48 / 2.86;
# few-shot SimCLR 22.96 / 6.27, SDCLR 25.27 / 3.98.
# Time: by arithmetic 1.3e+17 floating-point operations of pre-training (2,000 epochs, 9,754 images, two views,
# res18), 4 hours at a sustained 10 TFLOP/s; it was not run by this project.
#
#   ./cmds/shell_scrips/cifar-100-LT.sh -g 1 -w 8 --split cifar100_split1_D_i \
#       [--prune True --prune_percent 0.9 --prune_dual_bn True]
#   ... [--method NAME, of docs/methods.md] [--paper bcl, for the settings and probes of BCL's paper]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset cifar100 --model res18 --epochs 2000 --batch_size 512 \
    --lr 0.5 --temp 0.2 --seed 10 --prune_percent 0.7 --split cifar100_split1_D_i --data datasets --download True \
    --workers 5 -- "$@"
