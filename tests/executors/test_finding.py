"""Executors are found by name, whoever else looks for one."""

import subprocess
import sys

# Each import is preceded by a pause, as on a busy machine.
AT_ONCE = """\
import random, sys, threading, time
from runner.executors import containers, executor

def pause(event, args):
    if event == "import" and args[0].startswith("docker"):
        time.sleep(random.random() / 50)

def find(look):
    try:
        look()
    except Exception as error:
        wrong.append(repr(error))

wrong, looks = [], [lambda: executor("docker"), containers]
sys.addaudithook(pause)
threads = [threading.Thread(target=find, args=(looks[at % 2],)) for at in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\\n".join(wrong) or 0)
"""


def test_jobs_that_begin_together_find_docker_together() -> None:
    found = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=120)

    assert found.returncode == 0, found.stderr
