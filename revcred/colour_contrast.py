"""Contrast of colours, as WCAG 2.2 measures it."""

from collections.abc import Iterable

MIN_CONTRAST = 4.5  # of text: WCAG 2.2, 1.4.3
WHITE = "#ffffff"
# Behind text of the accent's colour: --page, --surface, --sunken and --selected of tokens.css.
LIGHT_SURFACES = ("#fafaf8", "#ffffff", "#f1f3f0", "#e2efed")
DARK_SURFACES = ("#121716", "#181f1e", "#1f2725", "#1c3532")
LINEAR_BELOW = 0.04045
# The channels' shares of lightness.
SHARES = (0.2126, 0.7152, 0.0722)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours such as `#0f766e`, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def lowest_contrast(colour: str, surfaces: Iterable[str]) -> float:
    """Return the contrast of a colour with that of the surfaces from which it differs least."""
    return min(contrast(colour, surface) for surface in surfaces)


def _luminance(colour: str) -> float:
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return sum(
        share * (channel / 12.92 if channel <= LINEAR_BELOW else ((channel + 0.055) / 1.055) ** 2.4)
        for share, channel in zip(SHARES, channels, strict=True)
    )
