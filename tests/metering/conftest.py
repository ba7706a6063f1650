import pytest

from metering.attribution.cautious_mode import cautious_mode


def pytest_addoption(parser):
    parser.addoption("--steps", type=int, default=400, help="of the trial of order")
    parser.addoption("--from", type=int, default=1, help="the seed of the trial of order")


@pytest.fixture(autouse=True)
def _no_care_from_before():
    """As in a process that has settled well for a while, whatever another test has done."""
    cautious_mode.reset()
    cautious_mode._until = 0.0
