#!/usr/bin/env bash
# ImageNet-LT, supervised learning: CE, cRT and LA, from random weights (--init none, the default) or from a method's
# encoder, which is pre-trained first where it is not there, as imagenet-res50-LT.sh --paper bcl does.
# Published (BCL's table 3), CE / cRT / LA: random 41.6 / 46.7 / 47.4, SimCLR 45.5 / 47.5 / 48.6, Focal 45.4 / 47.3 /
# 48.4, DnC 42.2 / 43.5 / 45.6, SDCLR 45.9 / 47.3 / 48.2, BCL-I 46.9 / 48.4 / 49.7, BCL-D 46.4 / 48.1 / 49.1.
# The paper tells no settings: they are chosen here, docs/supervised.md.
# Time: by arithmetic 5.2e+17 floating-point operations (twice 90 epochs, 115,846 images, res50), 14 hours at a
# sustained 10 TFLOP/s, and the pre-training's; it was not run by this project.
# Data: ILSVRC2012 (data.imagenet_extract).
#
#   ./cmds/shell_scrips/supervised-imagenet-LT.sh --data DIR -g 2 -w 10 --init none|simclr|focal|dnc|sdclr|bcl-i|bcl-d
#   ... [--supervised_epochs N] [--crt_epochs N] [--protocols ce,crt,la]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset imagenet --paper bcl --model res50 --epochs 500 --batch_size 256 \
    --lr 0.5 --temp 0.2 --seed 1 --workers 10 --supervised True --init none --resume True -- "$@"
