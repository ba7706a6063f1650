"""Admin lists that stay fast over a million rows: nothing counted in full, no query per row."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db.models import Func, QuerySet, TextField, Value
from django.db.models.functions import Lower
from django.utils.translation import gettext

from revcred.admin_toolkit.generic import Page, Paginator
from revcred.postgresql.estimates import estimate_rows
from revcred.texts import grouped

# Limits of a page's cost, measured at a million rows.
MAX_ROWS_COUNTED = 10_000  # then "more than"
MAX_ROWS_PER_SEARCH = 1_000  # of each query of a search
MIN_INDEXED_CHARACTERS = 3  # of a word; shorter ones have no trigram, and so no index
MAX_WORDS = 8  # of a search
MAX_ID_DIGITS = 18  # any number of these fits into a bigint


def parse_id(text: str | None) -> int | None:
    """Return the id that a text from a URL stands for, or None if PostgreSQL would not take it."""
    text = text or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS else None


class BoundedPaginator(Paginator):
    """Counts MAX_ROWS_COUNTED rows and no further; estimates the size of a whole big table."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        # One more than the limit tells whether there are more.
        rows = self.object_list.order_by().values("pk")[: MAX_ROWS_COUNTED + 1].count()
        return max(rows, self._estimate()) if rows > MAX_ROWS_COUNTED and self._is_whole else rows

    @cached_property
    def num_pages(self) -> int:
        """Return how many pages can be reached quickly. Whoever looks for older rows searches."""
        return max(1, -(-min(self.count, MAX_ROWS_COUNTED) // self.per_page))

    @cached_property
    def count_in_words(self) -> str:
        """Return the number of rows as far as it is known, such as `more than 10,000`."""
        if self.count <= MAX_ROWS_COUNTED:
            return grouped(self.count)
        return (
            gettext("about %(count)s") % {"count": grouped(self.count)}
            if self._is_whole
            else gettext("more than %(most)s") % {"most": grouped(MAX_ROWS_COUNTED)}
        )

    def page(self, number: int | str) -> Page:
        """Return a page: ids first, and then these rows alone with all that is joined to them.

        PostgreSQL would join and sort the whole table for a page far back.
        """
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        ids = self.object_list.values_list("pk", flat=True)[bottom : bottom + self.per_page]
        return Page(self.object_list.filter(pk__in=list(ids)), number, self)

    @property
    def _is_whole(self) -> bool:
        return not self.object_list.query.where

    def _estimate(self) -> int:
        table = self.object_list.model._meta.db_table
        return estimate_rows([table])[table]


def rows_starting_with(queryset: QuerySet[Any], field: str, term: str) -> QuerySet[Any]:
    """Return rows whose field starts with the term, in any case, by an index over lower(field)."""
    found: QuerySet[Any] = queryset.alias(lowered=Lower(field)).filter(
        lowered__startswith=term.lower()
    )
    return found


class SearchText(Func):
    """Texts as one, in small letters and without accents: a function and indexes of migrations."""

    function = "search_text"
    output_field = TextField()


def rows_containing(queryset: QuerySet[Any], term: str, *fields: str) -> QuerySet[Any]:
    """Return rows in whose fields each word of the term occurs, also in the middle of a word.

    Case and accents make no difference. Words without an index (MIN_INDEXED_CHARACTERS) only narrow
    what others find. Use the fields of an index `…_by_search_text` where a table may be large.
    """
    words = [word.replace("\0", "") for word in term.split()][:MAX_WORDS]
    if all(len(word) < MIN_INDEXED_CHARACTERS for word in words):
        return queryset.none()
    found: QuerySet[Any] = queryset.alias(search_text=SearchText(*fields))
    for word in words:
        found = found.filter(search_text__contains=SearchText(Value(word)))
    return found


def ids_found_by_any(
    queries: Sequence[QuerySet[Any]], *, most: int = MAX_ROWS_PER_SEARCH
) -> QuerySet[Any]:
    """Return the union of id queries, at most `most` of each.

    PostgreSQL would read all rows for an OR over several tables, or for one followed by a LIMIT.
    """
    first, *others = [query.order_by()[:most] for query in queries]
    found: QuerySet[Any] = first.union(*others)
    return found
