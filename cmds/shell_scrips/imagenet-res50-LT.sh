#!/usr/bin/env bash
# ImageNet-LT-exp: ResNet-50, pre-training on a list (long-tailed LT or balanced BL), linear probe, few-shot probe.
# Any other list of ImageNet serves too, ImageNet_LT_train (Pareto) say. SDCLR's paper has no table on it; BCL's, of
# ImageNet_LT_train, Many / Medium / Few: SimCLR 41.16 / 32.91 / 31.76, SDCLR 41.24 / 33.62 / 32.15,
# BCL-I 42.53 / 35.66 / 33.93, BCL-D 41.92 / 35.29 / 34.07 (--paper bcl --method simclr|focal|dnc|sdclr|bcl-i|bcl-d).
# Time: by arithmetic 5.7e+18 floating-point operations of pre-training (500 epochs, 229,853 images, two views,
# res50), 6.6 days at a sustained 10 TFLOP/s; it was not run by this project. Data: ILSVRC2012 (data.imagenet_extract).
#
#   ./cmds/shell_scrips/imagenet-res50-LT.sh --data DIR -g 2 -p 4867 -w 10 --split imageNet_LT_exp_train
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# --method sdclr prunes a tenth of the weights, as later code of BCL's authors does on ImageNet; no command of SDCLR's
# authors is known.
exec "$PYTHON" -m recipes --dataset imagenet --model res50 --epochs 500 --batch_size 256 \
    --lr 0.5 --temp 0.2 --seed 1 --prune_percent 0.7 --split imageNet_LT_exp_train \
    --few_shot_split imageNet_sub_balance_train_0.01 --workers 10 -- "$@"
