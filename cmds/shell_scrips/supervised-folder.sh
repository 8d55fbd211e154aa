#!/usr/bin/env bash
# Own images in folders of classes, supervised learning: CE, cRT and LA, from random weights (--init none, the default)
# or from a method's encoder, which is pre-trained first where it is not there, as folder.sh --paper bcl does; and their
# table. No published numbers.
# Time: by --check True, which tries a few steps of it and writes nothing.
#
#   ./cmds/shell_scrips/supervised-folder.sh --data DIR [--init none|sdclr] [--split split1_D_i] [--supervised_epochs N]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset folder --paper bcl --temp 0.2 --seed 10 --workers 5 \
    --supervised True --init none --resume True -- "$@"
