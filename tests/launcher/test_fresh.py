import tempfile
from pathlib import Path

import pytest

from revcred.launcher import fresh
from revcred.launcher.fresh import PREFIX, fresh_directory
from revcred.launcher.places import TMP


def test_what_a_killed_run_left_is_swept_and_a_live_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    abandoned = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TMP))
    monkeypatch.setattr(tempfile, "tempdir", str(TMP))
    monkeypatch.setattr(fresh, "YOUNG", 0)
    (abandoned / "lock").touch()
    with fresh_directory() as live, fresh_directory():
        assert live.exists()
        assert not abandoned.exists()
    assert not live.exists()


def test_others_may_pass_but_not_look() -> None:
    with fresh_directory() as directory:
        assert Path(directory).stat().st_mode & 0o777 == 0o711
