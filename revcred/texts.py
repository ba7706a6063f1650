"""Texts in the language of whoever reads them, and English ones for what is kept."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import cast

from django.conf import settings
from django.db import models
from django.utils import translation
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext, override

# A text that is translated wherever it is shown. Forms, pages and formats take it as they take a
# `str`, so it is typed as one. What asks for the real thing, such as `in`, is given `str(text)`.
gettext_lazy = cast("Callable[[str], str]", translation.gettext_lazy)  # noqa: TID251 - here it gets its type


def kept_language() -> AbstractContextManager[None]:
    """Return a context in which texts become what is kept: English, whoever causes it.

    Fixed sentences that are kept are translated when they are shown: `gettext(event.text)`.
    """
    return override(settings.LANGUAGE_CODE)


def grouped(number: int) -> str:
    """Write 1234567 as 1,234,567, or as the language of the page has it."""
    return number_format(number, force_grouping=True)


def quoted(name: object) -> str:
    """Return a name in the quotation marks of the language."""
    return gettext("“%(name)s”") % {"name": name}


def number_of(count: int, one: str, many: str) -> str:
    """Return a number with its noun: `number_of(2_000, "%(count)s key", "%(count)s keys")`.

    Both texts are marked for translation by standing here.
    """
    return ngettext(one, many, count) % {"count": grouped(count)}


def number_of_rows(count: int, model: type[models.Model]) -> str:
    """Return a number with the name of the rows, such as `1 customer` or `2,000 customers`."""
    options = model._meta
    return f"{grouped(count)} {options.verbose_name if count == 1 else options.verbose_name_plural}"


def translate_derived_names(models_of_app: Iterable[type[models.Model]]) -> None:
    """Have the names translated that Django derives from those of classes and attributes.

    Written out, each would be a part of migrations. `derived_names` of each app marks them.
    """
    for model in models_of_app:
        options = model._meta
        with override(None):
            name, plural = str(options.verbose_name), str(options.verbose_name_plural)
        if "verbose_name" not in options.original_attrs:
            options.verbose_name = gettext_lazy(name)
        if "verbose_name_plural" not in options.original_attrs:
            options.verbose_name_plural = gettext_lazy(plural)
        for field in [*options.local_fields, *options.local_many_to_many]:
            if "verbose_name" not in field.deconstruct()[3]:
                field.verbose_name = gettext_lazy(str(field.verbose_name))
