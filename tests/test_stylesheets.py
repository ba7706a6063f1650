"""One file names every colour, in pairs that can be read; every rule is for something on a page."""

import math
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).parents[1]
APPS = ("revcred", "storefront", "metering")
TOKENS = ROOT / "revcred" / "static" / "revcred" / "tokens.css"
SHEETS = sorted(
    path
    for app in APPS
    for path in (ROOT / app / "static").rglob("*.css")
    if "vendor" not in path.parts
)
PAGES = [
    *(ROOT / "templates").rglob("*.html"),
    *(path for app in APPS for path in (ROOT / app / "static").rglob("*.js")),
    *(path for app in APPS for path in (ROOT / app).rglob("*.py")),
]
DJANGO_PAGES = [
    path
    for folder in ("contrib/admin", "forms")
    for path in (Path(django.__file__).parent / folder).rglob("*")
    if path.suffix in (".html", ".js", ".py")
]
# Put together from a part and a name: by a tag, by Django, by Select2.
COMPOSED_CLASSES = ("badge-", "series-", "field-", "model-", "select2-")

COLOUR = re.compile(
    r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch)\(|\blight-dark\("
    r"|\b(?:white|black|gr[ae]y|silver|red|green|blue|orange|yellow|teal|navy|purple)\b",
    re.IGNORECASE,
)
THEME = re.compile(r"prefers-color-scheme|data-theme|color-scheme")

SURFACES = ("page", "surface", "sunken", "selected")
INKS = ("ink", "ink-loud", "ink-quiet", "accent-ink", "accent-ink-hover")
TINTS = ("good-tint", "warn-tint", "bad-tint")
FILLS = ("fill", "fill-hover", "danger-fill", "danger-fill-hover")
# WCAG 2.2 AA: 4.5 for text (1.4.3), 3 for what tells a field or a figure from its ground (1.4.11).
TEXT = [
    *((ink, ground) for ink in INKS for ground in (*SURFACES, *TINTS)),
    *(
        (state, ground)
        for state in ("good", "warn", "bad")
        for ground in (f"{state}-tint", *SURFACES[:3])
    ),
    *(("on-fill", fill) for fill in FILLS),
    ("on-band", "band"),
    ("ink-quiet", "ended-tint"),
]
GRAPHICS = [
    *(("field-edge", ground) for ground in SURFACES[:3]),
    *((f"series-{number}", "surface") for number in range(1, 8)),
]
# How linear RGB looks to everybody, without green and without red cones: Machado, Oliveira and
# Fernandes (2009), severity 1.
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
}
# CIE XYZ of linear sRGB, divided by the white point D65.
XYZ = (
    (0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505),
    (0.2126, 0.7152, 0.0722),
    (0.0193 / 1.0888, 0.1192 / 1.0888, 0.9505 / 1.0888),
)


def without_comments(sheet):
    return re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)


def declarations(sheet):
    """Return `property: value` of each declaration, custom properties included."""
    return re.findall(r"([\w-]+):([^;{}]+);", without_comments(sheet))


@cache
def colours():
    """Return the light and the dark colour of each token that is one."""
    found = {}
    for name, value in declarations(TOKENS):
        if literals := re.findall(r"#[0-9a-f]+", value):
            found[name.removeprefix("--")] = literals[0], literals[-1]
    return found


def linear(colour):
    """Return the shares of red, green and blue light, from 0 to 1."""
    digits = colour.removeprefix("#")
    pairs = [each * 2 for each in digits] if len(digits) == 3 else re.findall("..", digits)
    shares = [int(pair, 16) / 255 for pair in pairs]
    return [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares]


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def luminance(colour):
    return times(XYZ, linear(colour))[1]


def lab(colour, eye):
    """Return the colour as an eye sees it, in CIE L*a*b*, where distances are those one sees."""
    seen = [min(1, max(0, each)) for each in times(EYES[eye], linear(colour))]
    x, y, z = (
        each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in times(XYZ, seen)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, 4.5), (GRAPHICS, 3)], ids=["text", "graphics"])
def test_what_stands_on_a_ground_can_be_told_from_it(pairs, least, theme):
    measured = {
        f"{front} on {ground}": contrast(colours()[front][theme], colours()[ground][theme])
        for front, ground in pairs
    }

    assert {pair: ratio for pair, ratio in measured.items() if ratio < least} == {}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_credentials_of_a_chart_apart(eye, theme):
    seen = [lab(colours()[f"series-{number}"][theme], eye) for number in range(1, 7)]

    # A difference of 2.3 is just noticeable side by side; bars are narrow, and the legend is away.
    assert min(math.dist(one, other) for one, other in combinations(seen, 2)) > 20


@pytest.mark.parametrize(
    "sheet", [each for each in SHEETS if each != TOKENS], ids=lambda each: each.name
)
def test_only_the_tokens_name_colours_and_themes(sheet):
    literals = [
        f"{name}: {value.strip()}" for name, value in declarations(sheet) if COLOUR.search(value)
    ]

    assert literals == []
    assert THEME.findall(without_comments(sheet)) == []


def test_no_page_and_no_script_names_a_colour():
    written = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in PAGES
        if path.suffix in (".html", ".js") and "vendor" not in path.parts
        for found in re.findall(
            r"""(?:fill|stroke|color)=["']#\w+|\sstyle=["'][^"']*|["'`]#[0-9a-f]{3,8}["'`]""",
            path.read_text(),
        )
    ]

    assert written == []


def test_each_token_is_defined_once_and_used():
    names = [name for name, _ in declarations(TOKENS) if name.startswith("--")]
    used = {name for sheet in SHEETS for name in re.findall(r"var\((--[\w-]+)", sheet.read_text())}

    assert len(names) == len(set(names))
    assert set(names) - used == set()
    defined = {name for sheet in SHEETS for name, _ in declarations(sheet)}
    assert {name for name in used if not name.startswith("--pico-")} - defined == set()


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda each: each.name)
def test_every_class_of_a_rule_is_on_some_page(sheet):
    selectors = " ".join(re.findall(r"([^{};]+)\{", without_comments(sheet)))
    classes = set(re.findall(r"\.([a-z][\w-]+)", selectors))
    text = "\n".join(path.read_text() for path in (*PAGES, *DJANGO_PAGES))
    composed = re.compile("|".join(COMPOSED_CLASSES))

    assert {
        each
        for each in classes
        if not composed.match(each) and not re.search(rf"(?<![\w-]){each}(?![\w-])", text)
    } == set()
