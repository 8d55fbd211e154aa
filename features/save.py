"""Features of any checkpoint, this project's or the authors', for any data set, as an .npz file.

    python -m features.save --dataset digits --checkpoint checkpoints_digits/NAME/model.pt --model res20_s --out f.npz
    python -m features.save --dataset cifar100 --data datasets --list train --checkpoint FILE --out features.npz
    python -m features.save --dataset imagenet --data DIR --checkpoint FILE --out features.npz

The file holds `features` [N, C] float32, before the projection head; `labels` [N] and `ids` [N] int64. An id is the
number of an image within the training or the test images of a data set in memory, or of a line within its list of
image files, counted from 0; of files, `paths` [N] holds their names below the data folder, too. The images are
those that the probes evaluate on: un-augmented, centre crops of files. Classifiers and heads of the checkpoint are
left out.
"""

import io
import sys

import numpy as np

from data.sets.registry import data_set
from features.flags import parse_save
from features.setup import set_up
from utils.errors import run_main
from utils.files import replace_file


def main() -> None:
    args = parse_save(__doc__)
    arrays = set_up(args).arrays()
    if not arrays:
        return
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replace_file(args.out, buffer.getvalue())
    (images, channels), dataset = arrays["features"].shape, data_set(args.dataset)
    print(
        f"{args.out}: {channels} features of each of {images} images, {dataset.name} {args.list}, by {args.checkpoint}"
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
