"""Every kind of fault once, under load: see bench/README.md. What it prints tells the seed."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_no_kind_of_fault_loses_a_transaction_or_counts_it_twice():
    done = subprocess.run(
        [sys.executable, "-m", "bench.faults", "--short"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert done.returncode == 0, done.stdout + done.stderr
