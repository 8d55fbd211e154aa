"""Bad files for benchmarks/soak/cases.py: each function returns a file's content, drawn from `rng`."""

import gzip
import io
import pickle
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

JUNK = "\0\x1b[2J\x07 ../\\'\"%s{}\n\r\t日本é\u2028\u202e\ufeff"


class Evil:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> tuple:
        return Path.write_text, (Path("executed"), "x")


def damaged(rng: random.Random, content: bytes, first: int = 0) -> bytes:
    """Truncated, or with bytes changed, inserted or removed, at random positions from byte `first` on."""
    out = bytearray(content)
    mistake = rng.choice(["cut", "cut", "flip", "flip", "many", "insert", "remove", "tail"])
    at = rng.randrange(first, max(len(out), first + 1))
    if mistake == "cut":
        return bytes(out[:at])
    if mistake == "tail":
        return bytes(out[:at] + rng.randbytes(len(out) - at))
    if mistake == "insert":
        return bytes(out[:at] + rng.randbytes(rng.choice([1, 2, 100])) + out[at:])
    if mistake == "remove":
        return bytes(out[:at] + out[at + rng.choice([1, 2, 100]) :])
    for _ in range(rng.choice([1, 3]) if mistake == "flip" else 50):
        if out:
            out[rng.randrange(min(first, len(out) - 1), len(out))] ^= rng.randrange(1, 256)
    return bytes(out)


def junk(rng: random.Random) -> bytes:
    """No bytes, random bytes, text, or a file of another format."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "b")
    return rng.choice([b"", b"\0", rng.randbytes(rng.randrange(1, 5000)), b"hello\n" * 9,
                       pickle.dumps(Evil()), b"<html>404</html>", archive.getvalue(), gzip.compress(b"x"), b"\x93NUMPY",
                       b"\xff\xd8\xff"])  # fmt: skip


def npy_header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with exactly this header."""
    raw = text.encode("latin1" if version < (3, 0) else "utf8", "replace")
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(raw)) + raw + data


def npy(rng: random.Random, size: int) -> bytes:
    """A .npy file that is not a valid list for a data set of `size` images."""
    low = rng.randrange(1, size - 9)
    arrays = [
        [low, -rng.randrange(1, 2**31)], [low, size + rng.choice([0, 1, 2**31, 2**62])], [low, low], [low + 0.5, 1],
        [[low, low + 1]], low, [], [True, False], ["a", "b"], [1j], np.array([{}, Evil()], object), [np.nan, 1.0],
        np.array([(1, 2)], [("a", int), ("b", float)]), np.array(["2020-01-01"], "M8[D]"), np.array([2**64 - 1], "u8"),
        np.zeros(3, "V0"), np.zeros((0, 10**9), "i1"), np.array([b"\0\1"]), np.arange(4.0), [[[low]]], [-(2**63), 1],
    ]  # fmt: skip
    header = "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}"
    headers = [
        header.format("'<i8'", "False", f"({10 ** rng.randrange(3, 25)},)"), header.format("'<i8'", "False", "(-1,)"),
        header.format("'V0'", "False", f"({10**12},)"), header.format("'|O'", "False", "(3,)"), "-" * 9000 + "1",
        header.format("'<i8'", "False", "(3L,)"), header.format("[('a', '<i8', (99999999, 99999))]", "False", "(3,)"),
        "(" * 5000, "{1: 2, 'a': 3}", "[1, 2]", header.format("()", "1", "()"), header.format("'<i8'", "0", "(2**9,)"),
        header.format("'<i8'", "False", "(3,)") + " " * rng.choice([9, 20_000]), "{'a': __import__('os')}",
        header.format("('<i8', {})", "False", "(3,)"), header.format("'<i8'", "False", "((((3,),),),)"), "'" * 99,
        "L\n", header.format("'<i8'", "False", "3"), header.format("''", "False", "(1,)"), "{'descr': '" + "x" * 3000,
        header.format("'<i8'", "False", "(" + "1," * 99 + ")"), header.format(str([("a", "<i8")] * 2), "0", "(1,)"),
    ]  # fmt: skip
    mistake = rng.choice(["array", "array", "header", "damaged", "junk", "npz"])
    if mistake == "header":
        return npy_header(
            rng.choice(headers), rng.randbytes(rng.choice([0, 7, 24])), rng.choice([(1, 0), (2, 0), (3, 0), (9, 9)])
        )
    if mistake == "junk":
        return junk(rng)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if mistake == "npz":
            np.savez(buffer, np.arange(3))
        else:
            good = np.arange(low, low + 9)
            np.save(buffer, good if mistake == "damaged" else np.asarray(rng.choice(arrays)), allow_pickle=True)
    return damaged(rng, buffer.getvalue()) if mistake == "damaged" else buffer.getvalue()


def path_list(rng: random.Random, good: str) -> bytes:
    """A text file that is not a valid list of image files."""
    lines = good.splitlines()
    name, i = lines[0].split()[0], rng.randrange(len(lines))
    bad = [
        f"{name} 0x1", f"{name} -1", f"{name} 100", f"{name} 99999999999999999999", name, f"{name} 1.0", f"{name} nan",
        f"{name} ١", "", " ", "0", " 0", f"/etc/passwd{i} 0", f"../{name} 0", f"a/../../{name} 0", f"{name}\t",
        f"{name},0", f"D:\\{name} 0", f"..\\{name} 0", f"/data/{name} 0", f"file://{name} 0\n\n\n{name} 0",
        lines[i - 1], lines[i - 1].replace("train/", "./train//"), f"a\\b {i} 0", f"a\0b{i} 0", f"{name} ",
        f"{name} {JUNK}", f". {0}", f"./ {0}", f"{'../' * 50}etc/passwd 0", f"{name} 1 2 -3", f"{name} ²", "~/x.jpg",
        f"\x1b[2J{name}", f"C:\\x.jpg {200}", f"\x07 \x1b {999}",
    ]  # fmt: skip
    mistake = rng.choice(["line", "line", "line", "line", "junk", "bytes", "utf-16", "one line", "no labels", "absent"])
    if mistake == "line":
        lines.insert(i, rng.choice(bad))
        return "\n".join(lines).encode()
    wholes = {"junk": junk(rng), "utf-16": good.encode("utf-16"), "no labels": good.replace(" ", "_").encode(),
              "one line": good.replace("\n", " ").encode() + b"x", "bytes": damaged(rng, good.encode()) + b"\xff\xfe",
              "absent": "".join(f"no\x1b/{'x' * rng.choice([9, 300])}{i} 0\n" for i in range(9)).encode()}  # fmt: skip
    return wholes[mistake]


def png(width: int, height: int, data: bytes | None = None) -> bytes:
    """A PNG file with this size in its header; its pixel data is `data` if given, else that of a black image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def image(rng: random.Random, good: bytes) -> bytes:
    """A damaged image, another format or a decompression bomb; some of them decode nevertheless."""
    mistake = rng.choice(["damaged"] * 6 + ["junk", "format", "size", "bomb", "eps"])
    if mistake == "damaged":
        return damaged(rng, good)
    if mistake == "junk":
        return junk(rng)
    if mistake == "size":  # another one in the JPEG's header
        at = good.index(b"\xff\xc0") + 5
        size = struct.pack(">HH", *rng.choice([(65500, 65500), (0, 9), (9, 0), (20_000, 9_000)]))
        return good[:at] + size + good[at + 4 :]
    if mistake == "bomb":
        return rng.choice([png(100_000, 100_000, b""), png(12_000, 12_000), png(20_000, 1), png(2**31 - 1, 1, b""),
                           png(1, 60_000), png(9_999, 9_999, zlib.compress(b"")), png(0, 0, b"")])  # fmt: skip
    if mistake == "eps":  # which Pillow would run in Ghostscript
        return (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(executed) (w) file closefile\nshowpage\n"
        )
    buffer = io.BytesIO()
    kind = rng.choice(["GIF", "BMP", "TIFF", "PPM", "ICO", "WEBP", "TGA", "PCX", "SGI", "JPEG2000", "PDF", "DDS", "IM"])
    Image.open(io.BytesIO(good)).save(buffer, kind)
    return rng.choice([buffer.getvalue(), damaged(rng, buffer.getvalue())])


def _rezipped(content: bytes, mistake: str) -> bytes:
    """A checkpoint's zip file with deflated members, with huge ones, or with a pickle that executes code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in old.infolist():
            data = old.read(info)
            if mistake == "bomb" and "/data/" in info.filename:
                new.writestr(info.filename, bytes(1 << 24), zipfile.ZIP_DEFLATED, 9)
                continue
            if mistake == "evil" and info.filename.endswith("data.pkl"):
                data = pickle.dumps({"state_dict": {}, "epoch": Evil()}, 2)
            new.writestr(info.filename, data, zipfile.ZIP_DEFLATED if mistake == "deflated" else zipfile.ZIP_STORED)
    return buffer.getvalue()


def checkpoint(rng: random.Random, good: Path) -> bytes:
    """A checkpoint that is damaged, of another kind, executes code, or expands far beyond its size."""
    content, buffer = good.read_bytes(), io.BytesIO()
    mistake = rng.choice(
        ["damaged", "damaged", "junk", "evil", "pickle", "legacy", "bomb", "laughs", "deep", "keys", "large"]
    )
    if mistake == "damaged":
        return damaged(rng, content)
    if mistake == "junk":
        return junk(rng)
    if mistake in ("evil", "bomb"):
        return _rezipped(content, mistake)
    if mistake == "pickle":
        return pickle.dumps({"state_dict": {}, "epoch": Evil()})
    whole = torch.load(good, weights_only=True)
    state = whole["state_dict"]
    if mistake == "laughs":
        value = ["x"]
        for _ in range(60):
            value = [value, value]
        whole["epoch"] = value
    elif mistake == "deep":
        value = []
        for _ in range(300):
            value = [value]
        whole["epoch"] = whole["optim"] = value
    elif mistake == "large":
        state[next(iter(state))] = torch.zeros(1).expand(10**6, 10**6)
    elif mistake == "keys":
        change = rng.choice([{1: torch.zeros(1)}, {"x": 1}, {"": torch.zeros(1)}, {"module.fc.9": torch.zeros(1)},
                             {next(iter(state)): torch.zeros(1).to_sparse()},
                             {next(iter(state)): torch.zeros(3, device="meta")}])  # fmt: skip
        whole["state_dict"] = state | change
    torch.save(Evil() if mistake == "legacy" else whole, buffer, _use_new_zipfile_serialization=mistake != "legacy")
    return buffer.getvalue()


def archive(rng: random.Random) -> bytes:
    """A zip or tar of an experiment that is damaged, or has a member that leads out, is a link or is too large."""
    buffer, name = io.BytesIO(), "checkpoints/exp/model.pt"
    bad = rng.choice(
        [
            "../../../x.pt",
            "/x/model.pt",
            "a/../../b/model.pt",
            "link",
            "fifo",
            "large",
            "damaged",
            "empty",
            "exp\x1b/model.pt",
        ]
    )
    files = {name: b"weights"} | ({} if bad in ("link", "fifo", "large", "damaged", "empty") else {bad: b"x"})
    if bad == "empty":
        files = {"readme": b""}
    if bad == "large":
        files[name] = bytes(1 << 21)
    if bad in ("link", "fifo") or rng.random() < 0.5:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path, data in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            if bad in ("link", "fifo"):
                info = tarfile.TarInfo("checkpoints/exp/log.txt")
                info.type, info.linkname = (tarfile.SYMTYPE if bad == "link" else tarfile.FIFOTYPE), "/etc/passwd"
                tar.addfile(info)
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
            for path, data in files.items():
                target.writestr(path, data)
    return damaged(rng, buffer.getvalue()) if bad == "damaged" else buffer.getvalue()


def idx(rng: random.Random) -> bytes:
    """A bad idx file of Fashion-MNIST."""
    shape = rng.choice([(3,), (3, 28, 28), (1,) * 200, (2**31, 2**31), (0, 28, 28), (5, 28, 27), (), (2**32 - 1,)])
    header = b"\0\0\x08" + bytes([len(shape)]) + b"".join(struct.pack(">I", n) for n in shape)
    data = header + bytes(rng.choice([1, 3, 2352]))
    return rng.choice([data, damaged(rng, data), junk(rng), bytes(200_000_000)])
