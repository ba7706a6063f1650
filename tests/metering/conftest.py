import pytest

from metering.attribution.cautious_mode import cautious_mode


def pytest_addoption(parser):
    parser.addoption("--steps", type=int, default=400, help="of the trial of order")
    parser.addoption("--from", type=int, default=1, help="the seed of the trial of order")


@pytest.fixture(autouse=True)
def _outside_cautious_mode():
    """Start each test outside cautious mode, as in a process that has worked for a while."""
    cautious_mode.reset()
    cautious_mode._until = 0.0
