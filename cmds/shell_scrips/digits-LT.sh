#!/usr/bin/env bash
# scikit-learn's handwritten digits: the demo. No published numbers; ours are in results/digits.txt.
# Time: about two minutes for each split and method on two CPU cores.
#
#   ./cmds/shell_scrips/digits-LT.sh --split digits_split1_D_i
#   ... [--method simclr|focal|sdclr|bcl-i|bcl-d] [--paper bcl, for the settings and probes of BCL's paper]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
dataset=digits pretrain_dataset=digits name_dataset=_digits name_output=_o128 save_dir=checkpoints_digits
list_dir=digits_imbSub_with_subsets train_list=digits/digits_trainIdxList.npy val_list=digits/digits_valIdxList.npy
model=res20_s epochs=100 batch_size=128 prune_percent=0.5 sdclr_percent=0.5 split=digits_split1_D_i workers=2
# Half of the image shows less of a digit than of a photograph; small networks have fewer weights to spare.
extra=(--resizeLower 0.4)

recipe "$@"
