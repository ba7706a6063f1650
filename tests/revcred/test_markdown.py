import re

import pytest

from revcred.markdown import ALLOWED_TAGS, render_markdown


def test_text_becomes_html():
    html = render_markdown("# Maps\n\nTiles of *every* zoom.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")

    assert "<h3>Maps</h3>" in html
    assert "<em>every</em>" in html
    assert "<td>2</td>" in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<img src=x onerror="alert(1)">',
        "[a](javascript:alert(1))",
        "![a](https://x.example/pixel.png)",
        "[a](data:text/html,x)",
        '<a href="https://x.example" onclick="alert(1)">a</a>',
    ],
)
def test_nothing_runs_and_nothing_is_loaded(text):
    html = render_markdown(text)

    assert {*re.findall(r"<(\w+)", html)} <= ALLOWED_TAGS
    assert all(each.startswith("https:") for each in re.findall(r'href="([^"]*)', html))
    assert not re.findall(r"<[^>]* on\w+=", html)
