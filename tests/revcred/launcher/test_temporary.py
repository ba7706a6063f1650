import tempfile
from pathlib import Path

import pytest

from revcred.launcher import temporary
from revcred.launcher.paths import SOCKET_PARENT
from revcred.launcher.temporary import DIRECTORY_PREFIX, temporary_directory


def test_what_a_killed_run_left_is_swept_and_a_live_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    abandoned = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=SOCKET_PARENT))
    monkeypatch.setattr(tempfile, "tempdir", str(SOCKET_PARENT))
    monkeypatch.setattr(temporary, "LOCKING_GRACE_SECONDS", 0)
    (abandoned / "lock").touch()
    with temporary_directory() as live, temporary_directory():
        assert live.exists()
        assert not abandoned.exists()
    assert not live.exists()


def test_others_may_pass_but_not_look() -> None:
    with temporary_directory() as directory:
        assert Path(directory).stat().st_mode & 0o777 == 0o711
