r"""Unpack ILSVRC2012 into train/n01440764/*.JPEG and val/n01440764/*.JPEG, checked on the way.

    python -m data.imagenet_extract --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \
        --devkit ILSVRC2012_devkit_t12.tar.gz --out DIR

The archives come from image-net.org; nothing is downloaded. Interrupted and run again, it goes on where it stopped.
"""

import hashlib
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from utils.archives import check_space, reading, tar_members
from utils.cli import Parser
from utils.errors import InputError, run
from utils.files import locked

PUBLISHED = {"train": (1_281_167, 1000), "val": (50_000, 1000)}  # images, classes
LARGEST = 100_000_000  # bytes; ImageNet's largest image has a sixth of it
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # one of ImageNet's .JPEG files is a PNG
Image = tuple[str, str, int, IO[bytes]]  # class, name, size, content


def read_devkit(archive: Path) -> list[str]:
    """The class (WordNet id) of each validation image, from the development kit, which must be the published one."""
    from torchvision.datasets.imagenet import load_meta_file, parse_devkit_archive  # takes seconds

    with tempfile.TemporaryDirectory() as folder:
        parse_devkit_archive(folder, str(archive.resolve()))
        return load_meta_file(folder)[1]


def _files(where: Path | str, pattern: str, file: IO[bytes] | None = None) -> Iterator[tuple[re.Match, int, IO[bytes]]]:
    """The files of a tar, whose names all match the pattern."""
    for name, size, content in tar_members(where, file):
        found = re.fullmatch(rf"(?:\./)?{pattern}", name, re.ASCII)
        if not found or not content:
            raise InputError(f"{where} holds {name!r}, which is no file of that archive; get it again")
        yield found, size, content


def _train_images(archive: Path) -> Iterator[Image]:
    """Those of the archive of 1,000 archives, one a class, which are read where they lie."""
    for wnid, _, inner in _files(archive, r"(n\d{8})\.tar"):
        for name, size, content in _files(f"{archive}, {wnid[0]}", rf"({wnid[1]}_\d+\.JPEG)", inner):
            yield wnid[1], name[1], size, content


def _val_images(archive: Path, classes: list[str]) -> Iterator[Image]:
    """Those of the archive of validation images; classes[i]: of image i + 1."""
    for name, size, content in _files(archive, r"(ILSVRC2012_val_(\d{8})\.JPEG)"):
        if not 1 <= int(name[2]) <= len(classes):
            raise InputError(f"{archive} holds {name[1]!r}, but the devkit lists {len(classes)} images")
        yield classes[int(name[2]) - 1], name[1], size, content


def _extract(archive: Path, images: Iterator[Image], folder: Path) -> tuple[Counter[str], int]:
    """Write images to folder/WNID/NAME, whole or not at all, unless a file of the size is there.

    Returns:
        What the archive has of each class, and the number of images written.

    Raises:
        InputError: one is no image, the archive is damaged, or the disk is full.
    """
    listed, written, temporary = Counter(), 0, folder / ".extracting"
    try:
        with reading(archive):
            for wnid, name, size, content in images:
                listed[wnid] += 1
                target = folder / wnid / name
                if target.is_file() and target.stat().st_size == size:
                    continue
                image = content.read(LARGEST)
                if len(image) != size or not image.startswith(MAGIC):
                    raise InputError(f"{archive} holds {name!r}, which is neither a JPEG nor a PNG, or too large")
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(image)
                temporary.replace(target)
                written += 1
    finally:
        temporary.unlink(missing_ok=True)
    return listed, written


def extract(split: str, archive: Path, out: Path, classes: list[str], published: bool, quiet: bool) -> str:
    """Unpack the archive of a split into out/SPLIT and count what is there then.

    Args:
        classes: of the validation images.
        published: it is the published archive, so all of its images must be there, and no others.
        quiet: without a progress bar.

    Returns:
        A line that says what was done.

    Raises:
        InputError: the archive is bad, the disk is full, or other images are there.
    """
    folder, total = out / split, PUBLISHED[split]
    there = sum(path.stat().st_size + 1024 for path in folder.glob("*/*.JPEG"))  # with a tar's header and padding
    check_space(out, archive.stat().st_size - there, archive)
    images = _train_images(archive) if split == "train" else _val_images(archive, classes)
    bar = tqdm(images, desc=split, unit=" images", total=total[0], disable=quiet or None)
    listed, written = _extract(archive, bar, folder)
    here = Counter(path.parent.name for path in folder.glob("*/*.JPEG"))
    if published and (here.total(), len(here)) != total:
        raise InputError(f"{folder} holds {_count(here)}, not {total[0]:,} in {total[1]:,}: empty it, and run it again")
    line = f"{split}: {_count(here)} in {folder}, {written:,} of them written now"
    return line if published else f"{line}; {_count(listed)} in the archive, {total[0]:,} in the published one"


def _count(images: Counter[str]) -> str:
    return f"{images.total():,} images in {len(images):,} classes"


def check_md5(kind: str, archive: Path, quiet: bool) -> None:
    """Raise InputError unless an archive ('train', 'val', 'devkit') is the published one; quiet: no progress bar."""
    from torchvision.datasets.imagenet import ARCHIVE_META  # takes seconds

    (name, published), md5 = ARCHIVE_META[kind], hashlib.md5(usedforsecurity=False)
    progress = {"total": archive.stat().st_size, "desc": f"MD5 of {kind}", "disable": quiet or None}
    with archive.open("rb") as file, tqdm.wrapattr(file, "read", **progress) as stream:
        while block := stream.read(1 << 20):
            md5.update(block)
    if md5.hexdigest() != published:
        raise InputError(
            f"{archive} has MD5 {md5.hexdigest()}, but {name} has {published}: get it again from image-net.org "
            "(--check_md5 False takes train and val archives that were repacked)"
        )


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--train", type=Path, help="ILSVRC2012_img_train.tar, of 1,000 archives")
    add("--val", type=Path, help="ILSVRC2012_img_val.tar")
    add("--devkit", type=Path, help="ILSVRC2012_devkit_t12.tar.gz, which has the classes of the validation images")
    add("--out", type=Path, required=True, help="folder to make train/ and val/ in")
    parser.add_flag("--check_md5", help="False: for images that were repacked; default True")
    parser.set_defaults(check_md5=True)
    args = parser.parse_args()
    archives = {kind: path for kind in ("train", "val", "devkit") if (path := getattr(args, kind))}
    if not {"train", "val"} & set(archives):
        raise InputError("there is nothing to unpack: give --train, or --val and --devkit")
    if args.val and not args.devkit:
        raise InputError("--val needs --devkit, which has the classes of the validation images")
    for kind, path in archives.items():
        if not path.is_file():
            raise InputError(f"--{kind} {path} does not exist: get it from image-net.org")
    for kind, path in archives.items():
        if args.check_md5 or kind == "devkit":
            check_md5(kind, path, args.quiet)
    classes = read_devkit(args.devkit) if args.devkit else []
    with locked(args.out):
        for split in ("train", "val"):
            if split in archives:
                print(extract(split, archives[split], args.out, classes, args.check_md5, args.quiet), flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
