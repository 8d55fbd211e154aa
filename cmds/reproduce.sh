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
source "$(dirname "${BASH_SOURCE[0]}")/shell_scrips/common.sh"

case ${1:-} in -h | --help) usage ;; esac
dataset=${1:-}
case $dataset in
    cifar10) recipe=cifar-10-LT.sh prefix='' ;;
    cifar100) recipe=cifar-100-LT.sh prefix=cifar100_ ;;
    fashion_mnist) recipe=fashion-mnist-LT.sh prefix=fashion_mnist_ ;;
    digits) recipe=digits-LT.sh prefix=digits_ ;;
    imagenet100) family=files recipe=imagenet-100-res50-LT.sh ;;
    imagenet) family=files recipe=imagenet-res50-LT.sh ;;
    places) family=files recipe=places-res50-LT.sh ;;
    *) stop "name a data set: digits, fashion_mnist, cifar10, cifar100, imagenet100, imagenet or places" ;;
esac
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
        untrained | simclr | focal | sdclr | bcl-i | bcl-d) ;;
        *) stop "unknown method $method: untrained, simclr, focal, sdclr, bcl-i, bcl-d; recipe's options go behind --" ;;
    esac
done
resume=True
case " $* " in *" --overwrite True "*) resume=False ;; esac
splits=${SPLITS:-1 2 3 4 5} list=() experiments=() checkpoints=()
if [ $family = files ]; then splits=1; fi  # the recipe's list

for split in $splits; do
    for method in "${methods[@]}"; do
        echo "== $dataset, split $split, $method"
        if [ $family = memory ]; then list=(--split "${prefix}split${split}_D_i"); fi
        command=("cmds/shell_scrips/$recipe" "${list[@]}" --method "$method" --resume $resume "$@")
        case " $* " in
            # All that is wrong is told.
            *" --check True "*) "${command[@]}" || check_failed=True ;;
            *) forwarding "${command[@]}" ;;
        esac
        # The table is of these experiments, whatever else is in the folders.
        told=$(DRY_RUN=1 "${command[@]}")
        experiments+=("$(sed -n 's/.* train_[a-z]*\.py \([^ ]*\)__.*/\1/p' <<<"$told" | head -n 1)")
        checkpoints+=("$(sed -n 's/.* --checkpoint \([^ ]*\) .*/\1/p' <<<"$told" | head -n 1)")
    done
done

if [ -n "${DRY_RUN:-}" ] && [ "$DRY_RUN" != 0 ]; then exit 0; fi
parse_options "$@"
if [ "$only_pretraining" = True ] || [ "$check" = True ]; then exit 0; fi
options=(--dataset "$dataset" --method "${methods[@]}" --root "$root" --experiments "${experiments[@]}")
if [ "$split" = ImageNet_LT_train ] && [ $paper = sdclr ]; then options+=(--shape pareto); fi
# shellcheck disable=SC2206
if [ $family = memory ]; then options+=(--splits $splits); fi
if [ $paper = bcl ] && [ $family = files ]; then
    options+=(--paper bcl --probe bcl-100shot)
elif [ $paper = bcl ]; then
    # shellcheck disable=SC2206
    options+=(--paper bcl --probe $bcl_protocols)
else
    options+=(--LT --probe linear fewShot)
fi
if [ "$quiet" = True ]; then options+=(--quiet True); fi
"$PYTHON" exp_analyse.py "${options[@]}" --out "${root%/}/tables_$dataset" --plot "${root%/}/figures_$dataset"

if [ -n "${TAIL:-}" ]; then
    for i in "${!methods[@]}"; do
        echo "== tail of $dataset, ${methods[$i]}"
        "$PYTHON" -m tail --checkpoint "${checkpoints[$i]}" --out "${root%/}/tail_$dataset/${methods[$i]}" --quiet "$quiet"
    done
fi

if [ "$quiet" = True ]; then
    folder=$(dirname "$(dirname "${checkpoints[0]}")")
    echo
    echo "logs: log.txt in each folder of $folder and ${folder}_tune"
    echo "tables: ${root%/}/tables_$dataset; figures: ${root%/}/figures_$dataset${TAIL:+; tail: ${root%/}/tail_$dataset}"
fi
