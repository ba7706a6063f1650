from contextlib import contextmanager

import pytest

from revcred.uploads.reading import open_list


@pytest.fixture
def opened(tmp_path):
    """`with opened(content, name=…) as read:` opens a file of that content."""

    @contextmanager
    def opening(content, *, name="list.csv", **chosen):
        path = tmp_path / "upload"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with open_list(path, name=name, **chosen) as read:
            yield read

    return opening


@pytest.fixture
def rows_of(opened):
    """The rows of a file of that content, by their numbers."""

    def read_all(content, **chosen):
        with opened(content, **chosen) as read:
            return dict(read.rows)

    return read_all
