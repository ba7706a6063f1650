"""Languages of pages and of mails, and which one a reader gets.

A person's own choice comes first, then what the browser asks for, then the installation's language.
Answers to programs, logs and whatever is kept are English: see `revcred.texts`.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.utils.translation import get_language, get_supported_language_variant, gettext
from django.utils.translation.trans_real import parse_accept_lang_header

from revcred.appearance import appearance_cache
from revcred.models import User


def browser_language(accept_language: str) -> str:
    """Return the first language of an `Accept-Language` header that there is; empty for none."""
    for wanted, _ in parse_accept_lang_header(accept_language.lower()):
        if wanted == "*":
            break
        try:
            return get_supported_language_variant(wanted)
        except LookupError:
            continue
    return ""


def installation_language() -> str:
    """Return the language of those who have chosen none, and whose browser asks for none."""
    return known_language(appearance_cache.get().language) or settings.LANGUAGE_CODE


def known_language(code: str) -> str:
    """Return the code, or nothing if this version has no such language."""
    return code if code in dict(settings.LANGUAGES) else ""


def mail_languages(addresses: Iterable[str]) -> dict[str, str]:
    """Return the language of mails to each of these addresses, which are in lower case.

    Whoever has no login, or has chosen no language, gets the installation's.
    """
    addresses = set(addresses)
    usual = installation_language()
    logins = User.objects.filter(email__in=addresses).values_list("email", "language")
    chosen = {email: known_language(language) or usual for email, language in logins}
    return dict.fromkeys(addresses, usual) | chosen


def within_sentence(label: Any) -> str:
    """Return a label, translated, as it stands in a sentence: English ones with a small letter.

    Other languages may begin nouns with a capital, so their labels stay as they are.
    """
    text = gettext(str(label))
    return text.lower() if (get_language() or "en") == "en" else text
