"""Logs are coloured for people who look at a terminal, and plain in files."""

import json
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


AS_JSON = """
import logging
from tieout_server import log
log.configure(log_format='json', level='info')
with log.about(request_id='7f'):
    try:
        1 / 0
    except ZeroDivisionError:
        log.get('test').exception('fault')
        logging.getLogger('asyncio').exception('Task exception\\nwas never retrieved')
logging.getLogger('asyncio').info('not worth a line')
log.get('test').info('afterwards')
"""


def test_every_line_is_one_json_object_whoever_speaks_and_names_the_call() -> None:
    done = subprocess.run([sys.executable, "-c", AS_JSON], capture_output=True, check=True)
    ours, library, afterwards = (json.loads(line) for line in done.stderr.splitlines())
    assert (ours["event"], ours["subject"], ours["level"], ours["request_id"]) == ("fault", "test", "error", "7f")
    assert (library["subject"], library["level"], library["request_id"]) == ("asyncio", "error", "7f")
    for line in (ours, library):
        assert "ZeroDivisionError" in line["exception"]
    assert "request_id" not in afterwards
