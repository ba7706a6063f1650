from pathlib import Path

import pytest

from revcred.launcher.errors import LaunchError
from revcred.launcher.lock import exclusive_lock
from tests.revcred.launcher.trials import run_python

HOLDS_LOCK = """
import sys, time
from pathlib import Path
from revcred.launcher.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_is_told_so_and_a_kill_frees_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = run_python(HOLDS_LOCK, lock)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LaunchError, match="running already"), exclusive_lock(lock):
        pass
    holder.kill()
    holder.communicate()
    with exclusive_lock(lock):
        pass
