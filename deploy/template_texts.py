"""Texts that Django's templates mark for translation, for `pybabel extract`."""

import ast
import re
from collections.abc import Iterator
from typing import IO, Any

from django.utils.translation.template import templatize

# What Django makes of a template has calls such as ` gettext(u'Sign in') ` among other characters.
TEXT = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
CALL = re.compile(
    rf"\b(npgettext|pgettext|ngettext|gettext|_)\({TEXT}(?:, {TEXT})?(?:, {TEXT})?", re.DOTALL
)


def extract_texts(
    file: IO[bytes], keywords: Any, comment_tags: Any, options: Any
) -> Iterator[tuple[int, str, str | tuple[str, ...], list[str]]]:
    """Yield line, function and texts of each call, as Babel expects them of an extractor."""
    source = templatize(file.read().decode())
    for call in CALL.finditer(source):
        function, *literals = call.groups()
        texts = tuple(str(ast.literal_eval(text)) for text in literals if text)
        line = source.count("\n", 0, call.start()) + 1
        yield line, function, texts[0] if len(texts) == 1 else texts, []
