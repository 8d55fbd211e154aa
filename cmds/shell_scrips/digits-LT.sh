#!/usr/bin/env bash
# scikit-learn's handwritten digits: the demo. No published numbers; ours are in results/digits.txt.
# Time: about two minutes for each split and method on two CPU cores.
#
#   ./cmds/shell_scrips/digits-LT.sh --split digits_split1_D_i
#   ... [--method NAME, of docs/methods.md] [--paper bcl, for the settings and probes of BCL's paper]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# Crops are larger than those of photographs (resizeLower), since a part of a digit shows little of it; SDCLR prunes
# fewer weights (prune_percent), since the network is small.
exec "$PYTHON" -m recipes --dataset digits --model res20_s --epochs 100 --batch_size 128 --lr 0.5 \
    --temp 0.2 --seed 10 --prune_percent 0.5 --resizeLower 0.4 --split digits_split1_D_i --workers 2 -- "$@"
