"""What a command sets before it imports torch."""

import os
import subprocess
import sys

import pytest

from ssl_lightning.launch.environment import SPIN_COUNT, share_cores


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, str(SPIN_COUNT)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_sleep_while_they_wait_unless_the_user_says_how(monkeypatch, given, count):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == count


def test_a_command_sets_it_before_torch():
    code = (
        "import os, sys; sys.argv = ['ssl-pretrain', '--version']; from ssl_lightning.pretrain import main; main();"
        "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    )
    bare = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"False {SPIN_COUNT}"
