#!/usr/bin/env bash
# All splits of a data set with each method, then the tables; run again, it goes on where it stopped.
#
#   cmds/reproduce.sh DATASET [METHOD ...] [-- RECIPE OPTIONS]
#
#   cmds/reproduce.sh digits
#   cmds/reproduce.sh cifar100 simclr sdclr -- -g 2 -w 8
#   SPLITS="1 2" cmds/reproduce.sh fashion_mnist sdclr -- --data /usr/share/datasets/fashion-mnist -e 100
#   cmds/reproduce.sh imagenet100 simclr sdclr -- --data DIR -g 2 -w 10
#
# DATASET: digits, fashion_mnist, cifar10, cifar100; imagenet100, imagenet, places, which have one split.
# METHOD: untrained, simclr, focal, sdclr, bcl-i, bcl-d; default simclr sdclr. With `-- --paper bcl`, it is BCL's table.
# --quiet True behind --: a line for each step, the tables, and where the logs are.
# TAIL=1: tail of each method's first split, too.
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/shell_scrips/common.sh"

exec "$PYTHON" -m recipes.reproduce "$@"
