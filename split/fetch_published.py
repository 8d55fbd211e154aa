"""Download the authors' lists at the pinned commits and verify each against published_splits.tsv.

    python -m split.fetch_published                  # CIFAR-10 and CIFAR-100
    python -m split.fetch_published --dataset imagenet-100 imagenet places

The lists carry no licence that lets this project pass them on, so they are fetched, not shipped.
"""

import http.client
import sys
import urllib.request
from pathlib import Path

from data.sets.base import DataSet
from data.sets.registry import data_set
from split.flags import REFETCH, SERVER, parse_fetch
from split.lists import blob_sha1, dataset_of, published_lists
from utils.errors import InputError, run_main
from utils.files import locked, replace_file

TIMEOUT = 20  # seconds, per list


def fetch(dataset: DataSet, root: Path, server: str = SERVER, overwrite: bool = False) -> list[str]:
    """Fetch the published lists of a data set that `root` lacks: all of them, verified, or none.

    Returns:
        Paths below root that were written.

    Raises:
        InputError: the server cannot be reached, a list's hash is wrong, or another list of that name is there.
    """
    contents: dict[str, bytes] = {}
    for row in published_lists():
        relative = row["path"].removeprefix("split/")
        if dataset_of(relative) != dataset.name or relative in contents:
            continue
        path, sha1 = root / relative, row["git_blob_sha1"]
        if path.exists() and blob_sha1(path.read_bytes()) == sha1:
            continue
        if path.exists() and not overwrite:
            raise InputError(f"{path} is not the published list: keep it, or {REFETCH}")
        url = f"{server}/{row['repository']}/{row['commit']}/{row['path']}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                content = response.read(100_000_000)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise InputError(f"cannot fetch {url} ({error}): try again, or generate with split.make_splits") from error
        if blob_sha1(content) != sha1:
            raise InputError(f"{url} is not the published list (git blob {blob_sha1(content)}, not {sha1})")
        contents[relative] = content
    for relative, content in contents.items():
        replace_file(root / relative, content)
    return list(contents)


def main() -> None:
    args = parse_fetch(__doc__)
    for name in args.dataset:
        with locked(args.out):
            written = fetch(data_set(name), args.out, args.server, args.overwrite)
        for relative in () if args.quiet else written:
            print(f"fetched  {args.out / relative}")
        print(f"{name}: {len(written)} lists fetched and verified; the others were here")


if __name__ == "__main__":
    sys.exit(run_main(main))
