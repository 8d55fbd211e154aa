#!/usr/bin/env bash
# All splits of a data set with each method, then tables and a report; run again, it goes on where it stopped.
#
#   cmds/reproduce.sh DATASET [METHOD ...] [-- RECIPE OPTIONS]
#
#   cmds/reproduce.sh digits
#   cmds/reproduce.sh cifar100 simclr sdclr -- -g 2 -w 8
#   SPLITS="1 2" cmds/reproduce.sh fashion_mnist sdclr -- --data /usr/share/datasets/fashion-mnist -e 100
#   cmds/reproduce.sh imagenet100 simclr sdclr -- --data DIR -g 2 -w 10
#
# DATASET: digits, fashion_mnist, cifar10, cifar100; imagenet100, imagenet, places, which have one split.
# METHOD: untrained, or a name of docs/methods.md, such as sdclr, dnc, bcl-d+gh; default simclr sdclr. With
# `-- --paper bcl`, it is BCL's table.
# With `-- --supervised` it is supervised learning from these networks, and BCL's table 3.
# --quiet True behind --: a line for each step, the tables, and where the logs are.
# TAIL=1: tail of each method's first split, too.
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/shell_scrips/common.sh"

exec "$PYTHON" -m recipes.reproduce "$@"
