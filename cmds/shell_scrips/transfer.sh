#!/usr/bin/env bash
# Transfer of a frozen network to five fine-grained sets, BCL's table 4: linear classifier on features, Top-1 and Top-5.
# Published, ResNet-50 pre-trained on ImageNet-LT, mean of the five sets, Top-1 / Top-5: SimCLR 28.95 / 55.22, Focal
# 28.87 / 54.80, DnC 15.42 / 36.51, SDCLR 29.00 / 55.50, BCL-I 30.41 / 57.30, BCL-D 30.71 / 57.51; their settings are not
# published, those here are chosen (docs/transfer.md).
# Time: by --check True, which tries steps of each set and writes nothing. DIR holds the sets as their archives unpack:
# CUB_200_2011, stanford_cars, fgvc-aircraft-2013b, stanford_dogs, nabirds (python -m data.sets.fetch).
#
#   ./cmds/shell_scrips/transfer.sh --checkpoint FILE --data DIR [--sets cub cars aircraft dogs nabirds]
[ -n "${BASH_VERSION:-}" ] || { echo "error: this is a script for bash, run it by: bash $0" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec "$PYTHON" -m recipes.transfer "$@"
