"""Logs are coloured for people who look at a terminal, and plain in files."""

import os
import subprocess
import sys

CODE = "from tieout_server import log; log.configure(log_format='console', level='info'); log.get('test').info('told')"


def test_what_goes_into_a_file_has_no_colours() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
    assert b"told" in done.stderr
    assert b"\x1b" not in done.stderr


def test_what_goes_to_a_terminal_has_colours() -> None:
    ours, theirs = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", CODE], stderr=theirs, check=True)
        assert b"\x1b" in os.read(ours, 10_000)
    finally:
        os.close(ours)
        os.close(theirs)
