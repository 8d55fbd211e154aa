"""What a run writes of its numbers, where it cannot be written."""

import errno
import threading
from pathlib import Path

import pytest

from run.board import Board
from run.log import Log
from utils.errors import InputError


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch, capsys):
    """TensorBoard writes in a thread of its own, whose traceback would be on the terminal, too."""

    def fail(*_, **__) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # as it was, afterwards
    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", fail)
    with pytest.raises(InputError, match=f"{tmp_path}/tensorboard cannot be written: No space"), Board(tmp_path) as one:
        one.metrics(1, loss=2.0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(InputError, match=f"{tmp_path}/log.txt cannot be written: No space"):
        Log(tmp_path).info("x")
