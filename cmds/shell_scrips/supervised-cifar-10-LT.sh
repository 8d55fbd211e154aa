#!/usr/bin/env bash
# CIFAR-10-LT, supervised learning: CE, cRT and LA, from random weights (--init none, the default) or from a method's
# encoder, which is pre-trained first where it is not there, as cifar-10-LT.sh --paper bcl does. No published numbers.
# Time: by arithmetic 1.5e+16 floating-point operations (twice 200 epochs, 11,165 images, res18), 25 minutes at a
# sustained 10 TFLOP/s, and the pre-training's; it was not run by this project.
#
#   ./cmds/shell_scrips/supervised-cifar-10-LT.sh --init none|simclr|focal|dnc|sdclr|bcl-i|bcl-d --split split1_D_i
#   ... [--supervised_epochs N] [--crt_epochs N] [--protocols ce,crt,la]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset cifar10 --paper bcl --model res18 --epochs 2000 --batch_size 512 \
    --lr 0.5 --temp 0.2 --seed 10 --split split1_D_i --data datasets --download True \
    --workers 5 --supervised True --init none --resume True -- "$@"
