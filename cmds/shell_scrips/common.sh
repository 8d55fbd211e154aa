# What the recipes share: options, names, and the three steps pre-training, linear probe, few-shot probe.
# Sourced by the recipes, which set their data set's defaults and call `recipe "$@"`.
# shellcheck shell=bash disable=SC2034,SC2154
set -euo pipefail
called=${RECIPE:-$(realpath "$0")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi

# Published values; a recipe or an option may change them.
split= port=4833 workers=5 GPU_NUM=1
lr=0.5 temp=0.2 seed=10 output_ch=128
prune=False prune_dual_bn=False random_prune_percent=0
only_finetuning=False test_only=False few_shot_only=False few_shot_lr=30 few_shot_epochs=100
data='' download=False method='' sdclr_percent=0.9 sdclr_temp='' resume=False root=. print_freq=50 extra=()
# Settings of the method: see set_method.
paper=sdclr weight_decay='' head_layers='' focal_gamma=2 momentum_loss_beta=0.97 rand_k='' rand_strength=30
bcl_i_k=1 bcl_d_k=2 rand_floor='' bcl_protocols='bcl-full bcl-100shot bcl-50shot'
linear_epochs=30
# Of the recipes for image files only.
nodes=1 rdzv='' only_pretraining=False linear_eval_seed='' few_shot_split=''
image_size='' on_bad_image=error
# How to compute; the numbers' meaning does not change.
precision=auto augment=auto compile=False compute_options=()
# What is told while a step runs.
monitor='' monitor_freq='' tensorboard='' quiet=False
# What is kept, and what becomes of a run that is there.
overwrite=False accept_changes=False save_steps=0 saving_options=()
# True: try one step of each command, and write nothing.
check=False check_failed=False check_options=() probe_check=()
family=memory

parse_options() {
    while [ $# -gt 0 ]; do
        local option=$1
        case $option in
            -h | --help) usage ;;
            -e | --epochs) name=epochs ;;
            -s | --split) name=split ;;
            -p | --port) name=port ;;
            -w | --workers) name=workers ;;
            -g | --GPU_NUM) name=GPU_NUM ;;
            --batch_size | --pretrain_batch_size) name=batch_size ;;
            --lr | --temp | --few_shot_lr | --few_shot_epochs | --prune_percent | --data | --method | --root | \
                --model | --seed | --only_finetuning | --test_only | --few_shot_only | --prune | --prune_dual_bn | \
                --resume | --paper | --weight_decay | --head_layers | --focal_gamma | --momentum_loss_beta | \
                --rand_k | --rand_strength | --linear_epochs | --precision | --augment | --compile | \
                --overwrite | --accept_changes | --save_steps | --check | --monitor | --monitor_freq | \
                --tensorboard | --quiet) name=${option#--} ;;
            *)
                name=$("${family}_option" "$option")
                if [ -z "$name" ]; then
                    echo "$option is not found" >&2
                    exit 125
                fi
                ;;
        esac
        case $name in
            only_* | test_only | few_shot_only | prune | prune_dual_bn | download | resume | overwrite | accept_changes | compile | \
                check | tensorboard | quiet)
                case ${2:-} in
                    True | False) ;;
                    *) stop "$option takes True or False, not '${2:-}'" ;;
                esac
                ;;
        esac
        [ -n "${2:-}" ] || stop "$option needs a value"
        case $name in
            GPU_NUM | port | epochs | workers | batch_size | few_shot_epochs | nodes | linear_epochs | image_size | save_steps | \
                monitor_freq)
                [[ $2 =~ ^[0-9]+$ ]] || stop "$option takes a whole number, not '$2'"
                ;;
        esac
        case $name in
            prune_percent) sdclr_percent=$2 ;;
            temp) sdclr_temp=$2 ;;
        esac
        printf -v "$name" '%s' "$2"
        shift 2
    done
}

# Variable of an option that only the recipes of a family have.
memory_option() {
    case $1 in
        --random_prune_percent | --download) echo "${1#--}" ;;
    esac
}

files_option() {
    case $1 in
        -n | --nodes) echo nodes ;;
        --pretrain_lr) echo lr ;;
        --only_few_shot) echo few_shot_only ;;
        --rdzv | --only_pretraining | --few_shot_split | --linear_eval_seed | --image_size | \
            --on_bad_image) echo "${1#--}" ;;
    esac
}

# The comment at the top of the script that was called, and the options that all recipes take.
usage() {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$called"
    echo
    echo "Options: docs/recipes.md"
    trap - EXIT
    exit 0
}

stop() {
    echo "error: $1" >&2
    exit 2
}

# --method stands for the options that make it, --paper for what the two papers' authors set differently.
set_method() {
    method_options=() method_name=''
    case $method in
        '') ;;
        untrained) epochs=0 ;;
        simclr | focal | bcl-i) prune=False prune_dual_bn=False ;;
        sdclr | bcl-d) prune=True prune_dual_bn=True prune_percent=$sdclr_percent temp=${sdclr_temp:-$temp} ;;
        *) stop "unknown --method $method: choose untrained, simclr, focal, sdclr, bcl-i or bcl-d" ;;
    esac
    case $paper in
        sdclr) weight_decay=${weight_decay:-1e-4} ;;
        bcl)
            [ -n "$bcl_protocols" ] || stop "BCL's probes have no lists of $dataset: leave out --paper bcl"
            head_layers=${head_layers:-2}
            if [ -z "$weight_decay" ]; then
                weight_decay=5e-4
                if [ "$prune" = True ] || [ "$family" = files ]; then weight_decay=1e-4; fi
            fi
            if [ "$test_only" = True ]; then
                stop "BCL's probes train their classifier each time: --only_finetuning True, without --test_only"
            fi
            ;;
        *) stop "unknown --paper $paper: choose sdclr or bcl" ;;
    esac
    if [ "$weight_decay" != 1e-4 ]; then
        method_options+=(--weight_decay "$weight_decay")
        if [ $family = files ]; then method_name+="_wd$weight_decay"; fi  # the others' names have it as published
    fi
    local usual=2
    if [ "$prune_dual_bn" = True ]; then usual=3; fi
    if [ -n "$head_layers" ] && [ "$head_layers" != $usual ]; then
        method_options+=(--head_layers "$head_layers") method_name+="_head$head_layers"
    fi
    case $method in
        focal) method_options+=(--focal True --focal_gamma "$focal_gamma") method_name+="_focal$focal_gamma" ;;
        bcl-?)
            if [ "$method" = bcl-i ]; then rand_k=${rand_k:-$bcl_i_k}; fi
            rand_k=${rand_k:-$bcl_d_k}
            method_options+=(--bcl True --momentum_loss_beta "$momentum_loss_beta" --rand_k "$rand_k"
                --rand_strength "$rand_strength")
            method_name+="_bclK$rand_k"
            if [ -n "$rand_floor" ]; then method_options+=(--rand_floor "$rand_floor"); fi
            if [ "$rand_strength" != 30 ]; then method_name+="S$rand_strength"; fi
            if [ "$momentum_loss_beta" != 0.97 ]; then method_name+="B$momentum_loss_beta"; fi
            ;;
    esac
    if [ "$precision" != auto ]; then compute_options+=(--precision "$precision"); fi
    if [ "$augment" != auto ]; then compute_options+=(--augment "$augment"); fi
    if [ "$overwrite" = True ]; then saving_options+=(--overwrite True); fi
    if [ "$accept_changes" = True ]; then saving_options+=(--accept_changes True); fi
    if [ "$save_steps" != 0 ]; then saving_options+=(--save_steps "$save_steps"); fi
    if [ "$check" = True ]; then
        check_options=(--check True)
        # The checkpoint of a pre-training that comes first is not there yet.
        if [ "$only_finetuning" = False ] && [ "$few_shot_only" = False ]; then probe_check=(--untrained True); fi
    fi
    if [ "$compile" = True ]; then method_options+=(--compile True); fi
    for name in monitor monitor_freq tensorboard; do
        if [ -n "${!name}" ]; then method_options+=("--$name" "${!name}"); fi
    done
    refuse_contradictions
}

refuse_contradictions() {
    if [ "$prune_dual_bn" = True ] && [ "$prune" = False ]; then stop "--prune_dual_bn True needs --prune True"; fi
    if [ "$GPU_NUM" = 0 ]; then stop "-g counts processes, one for each GPU or one on a CPU: it is at least 1"; fi
    if [ "$nodes" = 0 ]; then stop "-n counts machines: it is at least 1"; fi
    if [ "$nodes" -gt 1 ] && [ -z "$rdzv" ]; then stop "-n $nodes needs --rdzv HOST:PORT, the same on all machines"; fi
}

# SIGTERM and SIGUSR1 go on to what `forwarding` runs, which saves and ends; a terminal's Ctrl-C reaches both at once.
signalled=0
note_signal() {
    signalled=$2
    kill -s "$1" "${!:-}" 2>/dev/null || end_with "$2"  # nothing runs
}
trap 'note_signal TERM 143' TERM
trap 'note_signal USR1 85' USR1
trap 'note_signal 0 130' INT

end_with() {
    if [ "$1" = 130 ]; then
        trap - INT  # a shell ends its loop over recipes only where the recipe died of Ctrl-C
        kill -INT $$
    fi
    exit "$1"
}

# forwarding COMMAND...: run it to its end, whatever signals come meanwhile; ends the script where it fails or one came.
forwarding() {
    local code=0
    # In the background, since bash waits with its traps for what is in front; but Ctrl-C must end it there, too.
    (trap - INT QUIT && exec "$@") &
    while kill -0 $! 2>/dev/null; do wait $! || true; done
    wait $! || code=$?
    if [ $code = 0 ]; then code=$signalled; fi
    if [ $code != 0 ]; then end_with $code; fi
}

# run COMMAND...: echo the command unless it is to be quiet, note it in the folder of the pre-training, run it.
run() {
    local folder=$save_dir/$experiment line
    if [ "$quiet" = True ]; then set -- "$@" --quiet True; fi
    printf -v line '%q ' "$@"
    line=${line% }
    line=${line//\\,/,}
    if [ -n "${DRY_RUN:-}" ] && [ "$DRY_RUN" != 0 ]; then
        echo "$line"
        return
    fi
    # What a check has to say does not name the run.
    if [ "$quiet" = False ] || [ "$check" = True ]; then echo "$line"; fi
    if [ "$check" = True ]; then
        "$@" || check_failed=True  # and on with the next one: all that is wrong is told
        return
    fi
    mkdir -p "$folder"
    echo "$line" >>"$folder/bash_log.txt"
    forwarding "$@"
}

# What a check of several commands ends with.
end_of_checks() {
    if [ $check_failed = True ]; then exit 2; fi
}
trap end_of_checks EXIT

# set_launch STEP: sets `launch`, what comes before the script; STEP tells apart what meets at one place.
set_launch() {
    launch=("$PYTHON")
    if [ "$nodes" -gt 1 ]; then
        launch=("$PYTHON" -m recipes.launch "--nnodes=$nodes" "--nproc_per_node=$GPU_NUM" --rdzv_backend=c10d
            "--rdzv_endpoint=$rdzv" "--rdzv_id=$experiment-$1")
    elif [ "$GPU_NUM" -gt 1 ]; then
        launch=("$PYTHON" -m recipes.launch "--nproc_per_node=$GPU_NUM" "--master_port=$port")
    fi
}

pretrain() {
    local launch
    set_launch pretrain
    local options=(--save-dir "$save_dir" --dataset "$pretrain_dataset" --data "$data" --download "$download"
        --trainSplit "$list_dir/$split.npy" --model "$model" --epochs "$epochs" --batch_size "$batch_size"
        --optimizer sgd --lr "$lr" --scheduler cosine --temperature "$temp" --output_ch "$output_ch" --seed "$seed"
        --num_workers "$workers" --print_freq "$print_freq" --resume "$resume" "${extra[@]}" "${compute_options[@]}"
        "${method_options[@]}" "${saving_options[@]}" "${check_options[@]}")
    if [ "$prune" = True ]; then
        options+=(--prune True --prune_percent "$prune_percent" --prune_dual_bn "$prune_dual_bn"
            --random_prune_percent "$random_prune_percent")
    fi
    run "${launch[@]}" train_simCLR.py "$experiment" "${options[@]}"
}

# probe NAME TRAIN_LIST EPOCHS MILESTONES LR TEST_FREQ
probe() {
    local options=(--save-dir "$tune_dir" --dataset "$dataset" --data "$data" --download "$download" --model "$model"
        --trainSplit "$2" --valiSplit "$val_list" --epochs "$3" --decreasing_lr "$4" --lr "$5" --wd 0 --batch-size 128
        --test_freq "$6" --fixto layer4 --fixbn True --seed 1 --num_workers "$workers" --resume "$resume"
        --checkpoint "$save_dir/$experiment/model_$epochs.pt" --cvt_state_dict True "${compute_options[@]}")
    if [ "$prune_dual_bn" = True ]; then options+=(--bnNameCnt 0); fi
    if [ "$test_only" = True ]; then options+=(--test_only True); else options+=("${saving_options[@]}"); fi
    options+=("${check_options[@]}" "${probe_check[@]}")
    run "$PYTHON" train_cifar.py "$1" "${options[@]}"
}

# BCL's probes on features: those of $bcl_protocols, without the full one where only few-shot is wanted.
probe_features() {
    local protocol options launch=("$PYTHON") script=train_cifar.py
    for protocol in $bcl_protocols; do
        if [ "$few_shot_only" = True ] && [ $protocol = bcl-full ]; then continue; fi
        options=(--save-dir "$tune_dir" --dataset "$dataset" --data "$data" --model "$model" --protocol $protocol
            --num_workers "$workers" --checkpoint "$save_dir/$experiment/model_$epochs.pt" --cvt_state_dict True
            --resume "$resume" "${saving_options[@]}" "${check_options[@]}" "${probe_check[@]}")
        if [ "$prune_dual_bn" = True ]; then options+=(--bnNameCnt 0); fi
        if [ $family = files ]; then
            script=train_imagenet.py
            set_launch $protocol
            options+=(--world_size $((GPU_NUM * nodes)) --port "$port" "${file_options[@]}")
        else
            options+=(--download "$download" "${compute_options[@]}")
        fi
        run "${launch[@]}" $script "${experiment}__$protocol" "${options[@]}"
    done
}

# The end of an experiment's name, and the folders, below --root.
finish_names() {
    if [ "$prune" = True ]; then
        experiment+="_pruneP${prune_percent}"
        if [ "$prune_dual_bn" = True ]; then experiment+=DualBN; fi
        if [ "$random_prune_percent" != 0 ]; then experiment+="RandomP${random_prune_percent}"; fi
    fi
    experiment+=$method_name
    save_dir=${root%/}/$save_dir tune_dir=${save_dir}_tune
    save_dir=${save_dir#./} tune_dir=${tune_dir#./}
}

# The published names, which other people's archives and logs carry.
set_names() {
    experiment="${model}${name_dataset}_scheduling_sgd_temp${temp}_wd${weight_decay}_lr${lr}_b${batch_size}"
    experiment+="${name_output}_twolayerProj_epoch${epochs}_${split}_newNT_s${seed}"
    finish_names
    few_shot_list=${split%_D_*}_S_b
}

recipe() {
    parse_options "$@"
    set_method
    set_names
    if [ "$only_finetuning" = False ] && [ "$few_shot_only" = False ]; then pretrain; fi
    if [ "$paper" = bcl ]; then
        probe_features
        return
    fi
    if [ "$few_shot_only" = False ]; then
        probe "${experiment}__f2layer4_d10d20_wd0_lr30_freezeBN" "$train_list" "$linear_epochs" 10,20 30 1
    fi
    probe "${experiment}__${few_shot_list}_f2layer4_d40d60_wd0_lr${few_shot_lr}_freezeBN" \
        "$list_dir/$few_shot_list.npy" "$few_shot_epochs" 40,60 "$few_shot_lr" 5
}

# The same for data sets of image files; published in the ImageNet scripts.
pretrain_files() {
    local launch
    set_launch pretrain
    local options=(--epochs "$epochs" --batch_size "$batch_size" --output_ch "$output_ch" --lr "$lr"
        --temperature "$temp" --model "$model" --dataset "$pretrain_dataset" --imagenetCustomSplit "$split"
        --save-dir "$save_dir" --optimizer sgd --num_workers "$workers" --seed "$seed" --data "$data"
        --print_freq "$print_freq" --resume "$resume" "${file_options[@]}" "${method_options[@]}"
        "${saving_options[@]}" "${check_options[@]}")
    if [ "$prune" = True ]; then
        options+=(--prune True --prune_percent "$prune_percent" --prune_dual_bn "$prune_dual_bn")
    fi
    run "${launch[@]}" train_simCLR.py "$experiment" "${options[@]}"
}

# probe_files STEP NAME EPOCHS MILESTONES LR TEST_FREQ SEED LIST...
probe_files() {
    local launch
    set_launch "$1"
    local options=(--decreasing_lr "$4" --weight-decay 0 --epochs "$3" --lr "$5" --batch-size 512 --model "$model"
        "${@:8}" --save-dir "$tune_dir" --dataset "$dataset" --checkpoint "$save_dir/$experiment/model_$epochs.pt"
        --cvt_state_dict True --world_size $((GPU_NUM * nodes)) --port "$port" --num_workers "$workers"
        --test_freq "$6" --seed "$7" --data "$data" --resume "$resume" "${file_options[@]}")
    if [ "$prune_dual_bn" = True ]; then options+=(--bnNameCnt 0); fi
    if [ "$test_only" = True ]; then options+=(--test_only True); else options+=("${saving_options[@]}"); fi
    options+=("${check_options[@]}" "${probe_check[@]}")
    run "${launch[@]}" train_imagenet.py "$2" "${options[@]}"
}

recipe_files() {
    family=files
    local usual=$split
    split=
    parse_options "$@"
    set_method
    # What BCL's paper calls ImageNet-LT is another list than that of SDCLR's script.
    if [ "$paper" = bcl ]; then usual=${bcl_split:-$usual}; fi
    split=${split:-$usual}
    experiment="${split}_${model}_scheduling_sgd_lr${lr}_temp${temp}_epoch${epochs}_batch${batch_size}"
    finish_names
    file_options=(--on_bad_image "$on_bad_image" "${compute_options[@]}")
    if [ -n "$image_size" ]; then file_options+=(--image_size "$image_size"); fi
    if [ "$only_finetuning" = False ] && [ "$few_shot_only" = False ]; then pretrain_files; fi
    if [ "$only_pretraining" = True ] && [ "$few_shot_only" = False ]; then return; fi
    if [ "$paper" = bcl ]; then
        probe_features
        return
    fi
    if [ "$few_shot_only" = False ]; then
        local name="${experiment}__lr30_wd0_epoch${linear_epochs}_b512_d10d20"
        if [ -n "$linear_eval_seed" ]; then name+="_s$linear_eval_seed"; fi
        probe_files linear "$name" "$linear_epochs" 10,20 30 2 "${linear_eval_seed:-1}" --fullset True
    fi
    probe_files few_shot "${experiment}__${few_shot_split}_lr${few_shot_lr}_fix2layer4_wd0_epoch30_b512_d10d20" \
        "$few_shot_epochs" 40,60 "$few_shot_lr" 10 1 --customSplit "$few_shot_split"
}
