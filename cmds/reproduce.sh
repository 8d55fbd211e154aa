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
# METHOD: untrained, simclr, sdclr; default simclr sdclr.
source "$(dirname "${BASH_SOURCE[0]}")/shell_scrips/common.sh"

dataset=${1:-}
case $dataset in
    cifar10) recipe=cifar-10-LT.sh prefix='' ;;
    cifar100) recipe=cifar-100-LT.sh prefix=cifar100_ ;;
    fashion_mnist) recipe=fashion-mnist-LT.sh prefix=fashion_mnist_ ;;
    digits) recipe=digits-LT.sh prefix=digits_ ;;
    imagenet100) family=files recipe=imagenet-100-res50-LT.sh list=imageNet_100_LT_train ;;
    imagenet) family=files recipe=imagenet-res50-LT.sh list=imageNet_LT_exp_train ;;
    places) family=files recipe=places-res50-LT.sh list=Places_LT_train ;;
    *) stop "name a data set: digits, fashion_mnist, cifar10, cifar100, imagenet100, imagenet or places" ;;
esac
if [ $family = files ]; then SPLITS=$list; fi
shift
methods=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    methods+=("$1")
    shift
done
if [ "${1:-}" = -- ]; then shift; fi
if [ ${#methods[@]} -eq 0 ]; then methods=(simclr sdclr); fi

for method in "${methods[@]}"; do
    case $method in
        untrained | simclr | sdclr) ;;
        *) stop "unknown method $method: choose untrained, simclr or sdclr; options of the recipe go behind --" ;;
    esac
done

for split in ${SPLITS:-1 2 3 4 5}; do
    for method in "${methods[@]}"; do
        echo "== $dataset, split $split, $method"
        if [ $family = memory ]; then list=${prefix}split${split}_D_i; fi
        "cmds/shell_scrips/$recipe" --split "$list" --method "$method" --resume True "$@"
    done
done

if [ -n "${DRY_RUN:-}" ] && [ "$DRY_RUN" != 0 ]; then exit 0; fi
# The table is of the settings that the recipe was given: it looks for their name, where they were told to write.
parse_options "$@"
if [ -z "${epochs:-}" ]; then epochs=$(sed -n 's/.*\bepochs=\([0-9]*\).*/\1/p' "cmds/shell_scrips/$recipe"); fi
options=(--dataset "$dataset" --LT --method "${methods[@]}" --probe linear fewShot --epochs "$epochs" --root "$root")
if [ $family = files ]; then
    # SDCLR has a temperature of its own there, unless one was given for all.
    options+=(--contains "_lr${lr}_temp${sdclr_temp}")
else
    # shellcheck disable=SC2206
    options+=(--contains "_temp${temp}_wd1e-4_lr${lr}_" --splits ${SPLITS:-1 2 3 4 5})
fi
"$PYTHON" exp_analyse.py "${options[@]}" --plot "${root%/}/figures_$dataset.png"
