#!/usr/bin/env bash
# Own images: pre-training on all images below a folder; where they lie in folders of classes, linear and few-shot probe
# and their table. No published numbers. Model, epochs, batch and learning rate follow from the number and the size of
# the images, and are printed; each can be given.
# Time: by --check True, which tries a few steps of it and writes nothing.
#
#   ./cmds/shell_scrips/folder.sh --data DIR [--method sdclr] [-e 200] [--split split1_D_i]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes --dataset folder --temp 0.2 --seed 10 --workers 5 -- "$@"
