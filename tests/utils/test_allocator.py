"""glibc's allocator keeps memory, or returns it; any other C library is left alone."""

import ctypes
import sys

import pytest

from utils.allocator import keep_memory, return_memory


@pytest.mark.parametrize("largest", [2**40, 2**25, 0])
def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch, largest):
    """-1 is malloc.h's M_TRIM_THRESHOLD, -3 its M_MMAP_THRESHOLD, which is refused above `largest`."""
    calls = []

    class Library:
        def mallopt(self, name, value):
            calls.append((name, value))
            return int(name == -1 or value <= largest)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(sys, "platform", "linux")
    keep_memory()
    tried = [(-3, 2**30)] + [(-3, 2**25)] * (largest < 2**30)
    assert calls == tried + [(-1, -1)] * (largest > 0)
    calls.clear()
    return_memory()
    assert sorted(calls) == [(-3, 128 * 1024), (-1, 128 * 1024)]  # glibc's defaults


@pytest.mark.parametrize("change", [keep_memory, return_memory])
def test_other_c_libraries_are_left_alone(monkeypatch, change):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    change()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("another system's C library"))
    monkeypatch.setattr(sys, "platform", "darwin")
    change()
