#!/usr/bin/env bash
# CIFAR-100-LT, supervised learning: CE, cRT and LA, from random weights (--init none, the default) or from a method's
# encoder, which is pre-trained first where it is not there, as bcl-cifar-100-LT.sh does.
# Published (BCL's table 3), CE / cRT / LA: random 41.7 / 44.1 / 45.7, SimCLR 44.4 / 48.9 / 50.1, Focal 44.4 / 48.7 /
# 49.5, DnC 44.4 / 48.6 / 49.7, SDCLR 44.6 / 49.8 / 50.4, BCL-I 45.1 / 49.9 / 50.8, BCL-D 45.4 / 50.0 / 50.5.
# The paper tells no settings: they are chosen here, docs/supervised.md.
# Time: by arithmetic 1.3e+16 floating-point operations (twice 200 epochs, 9,754 images, res18), 22 minutes at a
# sustained 10 TFLOP/s, and the pre-training's; it was not run by this project.
#
#   ./cmds/shell_scrips/supervised-cifar-100-LT.sh --split cifar100_split1_D_i \
#       --init none|simclr|focal|dnc|sdclr|bcl-i|bcl-d
#   ... [--supervised_epochs N] [--crt_epochs N] [--protocols ce,crt,la]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset cifar100 --paper bcl --model res18 --epochs 2000 \
    --batch_size 512 --lr 0.5 --temp 0.2 --seed 10 --split cifar100_split1_D_i --data datasets \
    --download True --workers 5 --supervised True --init none --resume True -- "$@"
