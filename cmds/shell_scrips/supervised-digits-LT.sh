#!/usr/bin/env bash
# scikit-learn's handwritten digits, supervised learning: CE, cRT and LA, from random weights (--init none, the default)
# or from a method's encoder, which is pre-trained first where it is not there, as digits-LT.sh --paper bcl does.
# No published numbers.
# Time: about two minutes for each split on two CPU cores, and the pre-training's.
#
#   ./cmds/shell_scrips/supervised-digits-LT.sh --init none|simclr|focal|dnc|sdclr|bcl-i|bcl-d --split digits_split1_D_i
#   ... [--supervised_epochs N] [--crt_epochs N] [--protocols ce,crt,la]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset digits --paper bcl --model res20_s --epochs 100 --batch_size 128 --lr 0.5 \
    --temp 0.2 --seed 10 --resizeLower 0.4 --split digits_split1_D_i --workers 2 \
    --supervised True --init none --resume True -- "$@"
