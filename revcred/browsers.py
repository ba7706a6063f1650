"""Browsers in words by which people recognise theirs, from what each says that it is."""

from django.utils.translation import gettext

# The first that is found counts: most browsers also name those that they are like.
BROWSER_NAMES = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "CriOS": "Chrome",
    "Chrome": "Chrome",
    "Safari": "Safari",
    "curl": "curl",
}
SYSTEM_NAMES = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def browser_in_words(header: str) -> str:
    """Return browser and system as far as the header User-Agent tells: "Firefox on Linux"."""
    browser = next((name for text, name in BROWSER_NAMES.items() if text in header), "")
    system = next((name for text, name in SYSTEM_NAMES.items() if text in header), "")
    if not system:
        return browser or gettext("An unknown program")
    name = browser or gettext("A browser")
    return gettext("%(browser)s on %(system)s") % {"browser": name, "system": system}
