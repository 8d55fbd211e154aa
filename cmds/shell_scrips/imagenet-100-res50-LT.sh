#!/usr/bin/env bash
# ImageNet-100: ResNet-50, pre-training on a list (long-tailed LT or balanced BL), linear probe, few-shot probe.
# Published, LT, one run, All / Std: linear SimCLR 65.46 / 4.04, SDCLR 66.48 / 3.75;
# few-shot SimCLR 42.16 / 5.52, SDCLR 42.38 / 5.07.
# Time: by arithmetic 3.0e+17 floating-point operations of pre-training (500 epochs, 12,205 images, two views,
# res50), 8 hours at a sustained 10 TFLOP/s; it was not run by this project. Data: ILSVRC2012 (data.imagenet_extract).
#
#   ./cmds/shell_scrips/imagenet-100-res50-LT.sh --data DIR -g 2 -p 4867 -w 10 --split imageNet_100_LT_train \
#       [--prune True --prune_percent 0.3 --prune_dual_bn True --temp 0.3]
#   on each of two machines: ... -g 8 -n 2 --rdzv HOST:29400
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset imagenet-100 --model res50 --epochs 500 \
    --batch_size 256 --lr 0.5 --temp 0.2 --seed 1 --prune_percent 0.3 --split imageNet_100_LT_train \
    --few_shot_split imageNet_100_sub_balance_train_0.01 --linear_eval_seed 1 --workers 10 -- "$@"
