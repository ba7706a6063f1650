"""Browsers are named as people know them."""

import pytest

from revcred.browsers import browser_in_words

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/141.0.0.0 Safari/537.36"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
            "Firefox on Linux",
        ),
        (CHROME, "Chrome on Windows"),
        (f"{CHROME} Edg/141.0.0.0", "Edge on Windows"),
        (f"{PHONE} Version/18.1 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{PHONE} CriOS/141.0", "Chrome on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 15) {WEBKIT}", "A browser on Android"),
        ("curl/8.5.0", "curl"),
        ("<script>", "An unknown program"),
        ("", "An unknown program"),
    ],
)
def test_in_words(header, words):
    assert browser_in_words(header) == words
