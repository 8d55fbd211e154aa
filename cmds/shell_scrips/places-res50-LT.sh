#!/usr/bin/env bash
# Places-LT: ResNet-50, pre-training on a list (long-tailed LT or balanced BL), linear probe, few-shot probe.
# There is no published script for it: this is ImageNet's with other lists. BCL's paper (another probe), Many / Medium /
# Few: SimCLR 31.12 / 33.85 / 35.62, SDCLR 32.08 / 35.08 / 35.94, BCL-I 32.27 / 34.96 / 38.03, BCL-D 32.34 / 35.44 /
# 37.75 (--paper bcl --method simclr|focal|dnc|sdclr|bcl-i|bcl-d).
# Time: by arithmetic 1.5e+18 floating-point operations of pre-training (500 epochs, 62,500 images, two views, res50),
# 43 hours at a sustained 10 TFLOP/s; it was not run by this project. Data: Places365-Standard, small images (256x256),
# easy directory.
#
#   ./cmds/shell_scrips/places-res50-LT.sh --data DIR -g 2 -p 4867 -w 10 --split Places_LT_train
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# --method sdclr prunes a tenth of the weights, as in imagenet-res50-LT.sh.
exec "$PYTHON" -m recipes --dataset places --model res50 --epochs 500 --batch_size 256 \
    --lr 0.5 --temp 0.2 --seed 1 --prune_percent 0.3 --split Places_LT_train \
    --few_shot_split Places_sub_balance_train_0.01 --workers 10 -- "$@"
