#!/usr/bin/env bash
# Fashion-MNIST: the published CIFAR recipe on 28-pixel images, for a small network. No published numbers.
# Time: 51 s an epoch of SimCLR on two CPU cores, so about 3 hours of pre-training; only 3 epochs were run.
# Data: --data DIR with torchvision's or Debian's files (package dataset-fashion-mnist), or --download True.
#
#   ./cmds/shell_scrips/fashion-mnist-LT.sh --data /usr/share/datasets/fashion-mnist --split fashion_mnist_split1_D_i
#   ... [--method simclr|focal|sdclr|bcl-i|bcl-d] [--paper bcl, for the settings and probes of BCL's paper]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
dataset=fashion_mnist pretrain_dataset=fashion_mnist name_dataset=_fashion_mnist name_output=_o128
save_dir=checkpoints_fashion_mnist list_dir=fashion_mnist_imbSub_with_subsets
train_list=fashion_mnist/fashion_mnist_trainIdxList.npy val_list=fashion_mnist/fashion_mnist_valIdxList.npy
model=res20_s epochs=200 batch_size=512 prune_percent=0.9 split=fashion_mnist_split1_D_i data=datasets

recipe "$@"
