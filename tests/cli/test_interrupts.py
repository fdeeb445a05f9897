"""Being told to end, by whatever thread the kernel gives the signal to."""

import signal
import subprocess
import sys

import pytest

PATIENCE = 60
SCRIPT = """
import signal, sys, threading, time
from pathlib import Path

from runner.cli.interrupts import told_to_end

def tell():
    main = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    while not waits.is_set() or main.read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))
    ended.wait()

waits, ended = threading.Event(), threading.Event()
with told_to_end() as until_told:
    threading.Thread(target=tell, daemon=True).start()
    waits.set()
    print(until_told())
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, "0"), (signal.SIGINT, "130")])
def test_a_signal_that_another_thread_was_given_is_heard(number: int, status: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(int(number))], capture_output=True, text=True, timeout=PATIENCE
    )

    assert (told.stdout.strip(), told.stderr) == (status, "")
