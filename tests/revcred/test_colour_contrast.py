import re
from pathlib import Path

import pytest
from django.conf import settings

from revcred.colour_contrast import DARK_SURFACES, LIGHT_SURFACES, WHITE, contrast


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", WHITE, 21), (WHITE, WHITE, 1), ("#777777", WHITE, 4.48)],
)
def test_contrast_is_that_of_wcag(one, other, expected):
    assert contrast(one, other) == pytest.approx(expected, abs=0.01)


def test_surfaces_are_those_of_the_tokens():
    tokens = Path(settings.BASE_DIR, "revcred/static/revcred/tokens.css").read_text()

    for place, name in enumerate(("page", "surface", "sunken", "selected")):
        light, dark = re.search(rf"--{name}: light-dark\((\S+), (\S+)\)", tokens).groups()
        whole = light if len(light) == 7 else "#" + "".join(2 * digit for digit in light[1:])
        assert (whole, dark) == (LIGHT_SURFACES[place], DARK_SURFACES[place])
