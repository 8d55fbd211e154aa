r"""Unpack ILSVRC2012 into train/n01440764/*.JPEG and val/n01440764/*.JPEG, by torchvision, which checks the MD5s.

    python -m data.imagenet_extract --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \
        --devkit ILSVRC2012_devkit_t12.tar.gz --out DIR

--val takes the folder DIR/val, too, where the validation images lie side by side, as their archive or another download
unpacks them: they are then moved into folders of their classes.

The archives come from image-net.org; nothing is downloaded. torchvision cannot resume: a part is unpacked in
DIR/.extracting and moved to its place when its images are complete, so run again after an interruption, a part that
is there is skipped, and the other is unpacked anew.
"""

import os
import shutil
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

from data.flags import parse_extract
from utils.archives import check_space, plain, reading
from utils.errors import InputError, run_main
from utils.files import locked

PUBLISHED = {"val": (50_000, 1000), "train": (1_281_167, 1000)}  # images, classes; the quick one first
FLAT = "ILSVRC2012_val_*.JPEG"
NEEDS = {"val": ("devkit", "val"), "train": ("train",)}  # the devkit has the classes of the validation images


def _count(folder: Path) -> tuple[int, int]:
    """Number of images and number of classes in the folder of a part."""
    images = Counter(path.parent for path in folder.glob("*/*.JPEG"))
    return images.total(), len(images)


def _parse(kind: str, archive: Path, work: Path) -> None:
    """Unpack an archive ('devkit', 'train' or 'val') into `work` by torchvision's parser, whose `root` that is."""
    from torchvision.datasets import imagenet  # takes seconds

    with reading(archive):
        try:
            # Absolute, as it is joined to the root; not resolved, as torchvision recognises the format by the ending.
            getattr(imagenet, f"parse_{kind}_archive")(work, str(archive.absolute()))
        except RuntimeError as error:
            raise InputError(
                "{} is not {} with MD5 {}: get it from image-net.org".format(archive, *imagenet.ARCHIVE_META[kind])
            ) from error


def sort_flat(folder: Path, devkit: Path) -> str:
    """Move ILSVRC2012_val_00000001.JPEG, ... of a folder into folders of their classes; those in one already stay.

    Returns:
        A line that says what was done.

    Raises:
        InputError: the devkit is not the published one, or the folder has other images or misses some.
    """
    from torchvision.datasets import imagenet

    images = {int(path.stem[-8:]): path for path in folder.rglob(FLAT) if path.stem[-8:].isdecimal()}
    if sorted(images) != list(range(1, PUBLISHED["val"][0] + 1)):
        raise InputError("{} has {:,} images {}, not {:,}".format(folder, len(images), FLAT, PUBLISHED["val"][0]))
    with tempfile.TemporaryDirectory() as work:
        _parse("devkit", devkit, Path(work))
        _, classes = imagenet.load_meta_file(work)
    flat = {number: path for number, path in images.items() if path.parent == folder}
    for number, path in flat.items():
        target = folder / classes[number - 1]
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    return f"{folder}: {len(flat):,} images moved into {_count(folder)[1]:,} classes"


def extract(part: str, archives: dict[str, Path], out: Path) -> str:
    """Unpack a part ('train' or 'val') into out/PART, if it is not there.

    Returns:
        A line that says what was done.

    Raises:
        InputError: the archive is not the published one, the disk is full, or something else is there.
    """
    target, work = out / part, out / ".extracting"
    found, wanted = _count(target), PUBLISHED[part]
    if found == wanted:
        return "{}: there already, {:,} images in {:,} classes".format(target, *wanted)
    if os.path.lexists(target):
        counts = "{:,} images in {:,} classes, not {:,} in {:,}".format(*found, *wanted)
        raise InputError(f"{target} holds {counts}: remove it, and run it again")
    if work.exists():
        shutil.rmtree(work)  # an interrupted run has left it
    check_space(out, archives[part].stat().st_size, archives[part])
    work.mkdir()
    try:
        for kind in NEEDS[part]:
            _parse(kind, archives[kind], work)
        found = _count(work / part)
        if found != wanted:
            raise InputError("{} holds {:,} images in {:,} classes, not {:,} in {:,}".format(part, *found, *wanted))
        (work / part).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return "{}: {:,} images in {:,} classes".format(target, *found)


def main() -> None:
    args = parse_extract(__doc__)
    # torchvision sets no extraction filter, and before Python 3.14 none is the default; this sets the process's.
    tarfile.TarFile.extraction_filter = staticmethod(plain)
    with locked(args.out):
        for part in PUBLISHED:
            if part in args.archives:
                flat = part == "val" and args.val.is_dir()
                done = sort_flat(args.val, args.devkit) if flat else extract(part, args.archives, args.out)
                print(done, flush=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
