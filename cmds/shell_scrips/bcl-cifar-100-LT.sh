#!/usr/bin/env bash
# CIFAR-100 as in BCL's paper: pre-training on a long-tailed split, full, 100-shot and 50-shot probe on features.
# Published (table 1, 100-shot), Many / Medium / Few / Std: SimCLR 48.70 / 46.81 / 44.02 / 2.36, Focal 48.46 / 46.73 /
# 44.12 / 2.18, SDCLR 51.22 / 49.22 / 45.85 / 2.71, BCL-I 50.45 / 48.23 / 45.97 / 2.24, BCL-D 53.98 / 51.97 / 49.52 /
# 2.23. The authors' checkpoints of split 1, full / 100-shot / 50-shot (their README): SimCLR 50.7 / 46.3 / 42.4,
# SDCLR 55.0 / 49.7 / 45.6, BCL-I 55.7 / 50.1 / 45.8, BCL-D 58.7 / 52.6 / 48.7.
# Time: as cifar-100-LT.sh, whose recipe this is with the settings of the other paper: heads of two layers, weight decay
# 5e-4 (1e-4 with pruning), pruning 0.9, seed 10. (--prune_percent below counts where --prune True chooses SDCLR, as the
# authors do.) It was not run by this project.
#
#   ./cmds/shell_scrips/bcl-cifar-100-LT.sh --method bcl-i -w 8 --split cifar100_split1_D_i
#   --method simclr|focal|dnc|sdclr|bcl-i|bcl-d
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset cifar100 --paper bcl --model res18 --epochs 2000 \
    --batch_size 512 --lr 0.5 --temp 0.2 --seed 10 --prune_percent 0.7 --split cifar100_split1_D_i --data datasets \
    --download True --workers 5 -- "$@"
