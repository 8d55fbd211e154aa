r"""Unpack ILSVRC2012 into train/n01440764/*.JPEG and val/n01440764/*.JPEG, checked on the way.

    python -m data.imagenet_extract --train ILSVRC2012_img_train.tar --val ILSVRC2012_img_val.tar \
        --devkit ILSVRC2012_devkit_t12.tar.gz --out DIR

The archives come from image-net.org; nothing is downloaded. Interrupted and run again, it goes on where it stopped.
"""

import hashlib
import io
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.archives import Header, check_space, open_tar, opened, read_to_end, reading
from utils.cli import Parser
from utils.errors import InputError, run
from utils.files import locked

PUBLISHED = {"train": (1_281_167, 1000), "val": (50_000, 1000)}  # images, classes
LARGEST = 100_000_000  # bytes; ImageNet's largest image has a sixth of it
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # one of ImageNet's .JPEG files is a PNG


class Devkit(NamedTuple):
    """val[i]: class (WordNet id) of validation image i + 1; train: class -> number of its training images."""

    val: list[str]
    train: Counter[str]


def read_devkit(archive: Path) -> Devkit:
    """The classes that the development kit lists.

    Raises:
        InputError: the archive is damaged or another one, or its two tables do not fit.
    """
    import scipy.io  # takes a second, which --train alone can save

    names = {"meta.mat": b"", "ILSVRC2012_validation_ground_truth.txt": b""}
    with opened(archive, LARGEST, 10_000) as members:
        for member in members:
            folder, name = ("", *member.name.split("/"))[-2:]
            if folder == "data" and name in names:
                with reading(archive):
                    names[name] = member.open().read()
    if missing := [name for name, content in names.items() if not content]:
        raise InputError(f"{archive} holds no data/{missing[0]}: it is not ILSVRC2012_devkit_t12.tar.gz")
    meta, truth = names.values()
    try:
        synsets = np.atleast_1d(scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        leaves = [s for s in synsets if int(s["num_children"]) == 0]  # the others are classes of classes
        classes = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in leaves}
        train = Counter({str(s["WNID"]): int(s["num_train_images"]) for s in leaves})
        val = [classes[int(line)] for line in truth.split()]
    except Exception as error:  # scipy raises anything on a damaged file
        raise InputError(f"{archive} has a meta.mat or a ground truth that cannot be read ({error!r})") from error
    if odd := [name for name in train if not re.fullmatch(r"n\d{8}", name, re.ASCII)]:
        raise InputError(f"{archive} names a class {odd[0]!r}, which is no WordNet id such as n01440764")
    return Devkit(val, train)


class Extraction:
    """The way of one archive's images to folder/WNID/NAME; `listed` counts what the archive has of each class."""

    def __init__(self, archive: Path, folder: Path, bar: tqdm) -> None:
        self.archive, self.folder, self.bar = archive, folder, bar
        self.listed: Counter[str] = Counter()
        self.written = 0

    def members(self, tar: tarfile.TarFile, where: str, pattern: str) -> Iterator[tuple[Header, re.Match]]:
        """Plain files, whose names all match the pattern."""
        members = iter(tar)
        while True:
            with reading(where):
                info = next(members, None)
                if info is None:
                    read_to_end(tar, LARGEST)
                    return
            match = re.fullmatch(rf"(?:\./)?{pattern}", info.name, re.ASCII)
            if match and info.is_plain():
                yield info, match
            elif not (info.isdir() and info.name in (".", "./")):
                raise InputError(f"{where} holds {info.name!r}, which is no file of that archive; get it again")

    def train(self) -> None:
        """The archive of 1,000 archives, one a class, which are read where they lie."""
        with open_tar(self.archive) as outer:
            for info, found in self.members(outer, str(self.archive), r"(n\d{8})\.tar"):
                where = f"{self.archive}, {info.name}"
                with open_tar(where, outer.extractfile(info)) as inner:
                    for image, name in self.members(inner, where, rf"({found[1]}_\d+\.JPEG)"):
                        self.put(inner, image, found[1], name[1])

    def val(self, classes: list[str]) -> None:
        """The archive of validation images; classes[i]: of image i + 1."""
        with open_tar(self.archive) as tar:
            for image, name in self.members(tar, str(self.archive), r"(ILSVRC2012_val_(\d{8})\.JPEG)"):
                if not 1 <= int(name[2]) <= len(classes):
                    raise InputError(f"{self.archive} holds {image.name!r}, but the devkit lists {len(classes)} images")
                self.put(tar, image, classes[int(name[2]) - 1], name[1])

    def put(self, tar: tarfile.TarFile, image: Header, wnid: str, name: str) -> None:
        """Write an image, whole or not at all, unless a file of its size is there.

        Raises:
            InputError: it is no image, or cannot be read or written.
        """
        with reading(self.archive):
            content = tar.extractfile(image)
            start = content.read(8)
        if image.size > LARGEST or not start.startswith(MAGIC):
            raise InputError(f"{self.archive} holds {image.name!r}, which is neither a JPEG nor a PNG")
        self.bar.update(image.size)
        self.listed[wnid] += 1
        target, temporary = self.folder / wnid / name, self.folder / ".extracting"
        try:
            if target.is_file() and target.stat().st_size == image.size:
                return
            if target.parent.is_symlink():
                raise InputError(f"{target.parent} is a link: the images are to stay in {self.folder}")
            with reading(self.archive):
                whole = start + content.read()
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(whole)
            temporary.replace(target)
            self.written += 1
        except OSError as error:  # a full disk, say
            raise InputError(f"{target} cannot be written ({error}): make room, then run it again") from error
        finally:
            temporary.unlink(missing_ok=True)


def images_in(folder: Path) -> tuple[Counter[str], int]:
    """Number of .JPEG files of each class folder, and the bytes that a tar of them all would take."""
    counts: Counter[str] = Counter()
    size = 0
    for path in folder.glob("*/*.JPEG"):
        counts[path.parent.name] += 1
        size += path.stat().st_size + 1024  # header and padding
    return counts, size


def extract(split: str, archive: Path, out: Path, devkit: Devkit | None, published: bool) -> str:
    """Unpack the archive of a split into out/SPLIT and count what is there then.

    Args:
        published: it is the published archive, so all of its images must be there, and no others.

    Returns:
        A line that says what was done.

    Raises:
        InputError: the archive is bad, the disk is full, or other images are there.
    """
    folder = out / split
    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, archive.stat().st_size - images_in(folder)[1], archive)
    with tqdm(total=archive.stat().st_size, unit="B", unit_scale=True, desc=split, disable=None) as bar:
        extraction = Extraction(archive, folder, bar)
        if split == "train":
            extraction.train()
        else:
            extraction.val(devkit.val)
    here, listed = images_in(folder)[0], extraction.listed
    images, classes = PUBLISHED[split]
    even = split == "train" or set(here.values()) == {images // classes}
    if published and not (even and (here.total(), len(here)) == (images, classes)):
        raise InputError(f"{folder} holds {_count(here)}, not {images:,} in {classes:,}: empty it, and run it again")
    line = f"{split}: {_count(here)} in {folder}, {extraction.written:,} of them written now"
    known = Counter(devkit.val) if devkit and split == "val" else devkit.train if devkit else None
    for who, counts in (("archive", listed), ("devkit", known)):
        if not published and counts is not None:
            line += f"; {'as' if counts == here else 'but ' + _count(counts)} in the {who}"
    return line


def _count(counts: Counter[str]) -> str:
    return f"{counts.total():,} images in {len(counts):,} classes"


def check_md5(archives: dict[str, Path]) -> None:
    """Raise InputError unless each archive ('train', 'val', 'devkit') is the published one."""
    from torchvision.datasets.imagenet import ARCHIVE_META  # takes seconds, and only this needs it

    for kind, archive in archives.items():
        name, published = ARCHIVE_META[kind]
        md5 = hashlib.md5(usedforsecurity=False)
        with (
            archive.open("rb") as file,
            tqdm(total=archive.stat().st_size, unit="B", unit_scale=True, desc=f"MD5 of {kind}", disable=None) as bar,
        ):
            while block := file.read(1 << 20):
                md5.update(block)
                bar.update(len(block))
        if md5.hexdigest() != published:
            raise InputError(
                f"{archive} has MD5 {md5.hexdigest()}, but {name} has {published}: get it again from image-net.org, or "
                "give --check_md5 False if it was repacked"
            )


def main() -> None:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--train", type=Path, help="ILSVRC2012_img_train.tar, of 1,000 archives")
    add("--val", type=Path, help="ILSVRC2012_img_val.tar")
    add("--devkit", type=Path, help="ILSVRC2012_devkit_t12.tar.gz, which has the classes of the validation images")
    add("--out", type=Path, required=True, help="folder to make train/ and val/ in")
    parser.add_flag("--check_md5", help="False: for archives that were repacked; default True")
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
    if args.check_md5:
        check_md5(archives)
    devkit = read_devkit(args.devkit) if args.devkit else None
    with locked(args.out):
        for split in ("train", "val"):
            if split in archives:
                print(extract(split, archives[split], args.out, devkit, args.check_md5), flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
