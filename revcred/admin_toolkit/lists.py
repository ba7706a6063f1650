"""Lists that stay quick over a million rows: nothing is counted in full, nothing asked per row."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import connection, models
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest

from revcred.admin_toolkit.generic import Paginator

MAX_ROWS_COUNTED = 10_000  # rows that are counted; beyond them it is "more than"
MAX_ROWS_PER_SEARCH = 1_000  # rows that each way of searching may find
MAX_ID_DIGITS = 18  # of a number that PostgreSQL takes for sure

# A partitioned table has no rows itself: its partitions do.
ESTIMATE_ROWS = """
SELECT sum(greatest(reltuples, 0))::bigint FROM pg_class
WHERE oid = %(table)s::regclass
   OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)
"""


def parse_id(text: str | None) -> int | None:
    """The number that an address says, if it is one that PostgreSQL takes."""
    text = text or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS else None


class BoundedPaginator(Paginator):
    """Counts some thousand rows and no further; the size of a whole big table it estimates."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        rows = self.object_list.order_by().values("pk")[: MAX_ROWS_COUNTED + 1].count()
        return max(rows, self._estimate()) if rows > MAX_ROWS_COUNTED and self._is_whole else rows

    @cached_property
    def num_pages(self) -> int:
        """As many as are quickly skipped to. Who is looking for something further back searches."""
        return max(1, -(-min(self.count, MAX_ROWS_COUNTED) // self.per_page))

    @cached_property
    def count_in_words(self) -> str:
        """How many there are, as far as that is known."""
        if self.count <= MAX_ROWS_COUNTED:
            return f"{self.count:,}"
        return f"about {self.count:,}" if self._is_whole else f"more than {MAX_ROWS_COUNTED:,}"

    @property
    def _is_whole(self) -> bool:
        return not self.object_list.query.where

    def _estimate(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(ESTIMATE_ROWS, {"table": self.object_list.model._meta.db_table})
            (rows,) = cursor.fetchone()
        return int(rows)


class FilteredChangeList(ChangeList):
    """Looks up what the list's own filters know. Any other lookup that Django would take from an
    address may read all rows, or be one that PostgreSQL refuses."""

    def get_filters(self, request: HttpRequest) -> Any:
        filters = super().get_filters(request)
        _, _, unknown, *_ = filters
        if unknown:
            raise IncorrectLookupParameters
        return filters


def rows_starting_with(queryset: QuerySet[Any], field: str, term: str) -> QuerySet[Any]:
    """Those whose field starts with the term, in any case, by an index over lower(field)."""
    found: QuerySet[Any] = queryset.alias(lowered=Lower(field)).filter(
        lowered__startswith=term.lower()
    )
    return found


def ids_found_by_any(ways: Sequence[QuerySet[Any]]) -> QuerySet[Any]:
    """What any of these finds, as numbers. Each goes by an index of its own, and none endlessly.

    An OR over several tables, or one that LIMIT follows, would make PostgreSQL read all rows.
    """
    first, *others = [way.order_by()[:MAX_ROWS_PER_SEARCH] for way in ways]
    found: QuerySet[Any] = first.union(*others)
    return found


class LinkedFilter(admin.SimpleListFilter):
    """A filter that other pages link to: it shows what was chosen and never lists all there is."""

    template = "admin/chosen.html"
    model: type[models.Model]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[Any, str]]:
        return ()

    def has_output(self) -> bool:
        return self.value() is not None

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        without = changelist.get_query_string(remove=[str(self.parameter_name)])
        yield {"display": self.chosen_in_words(), "query_string": without}

    def chosen_in_words(self) -> str:
        chosen = parse_id(self.value())
        found = chosen and self.model._base_manager.filter(pk=chosen).first()
        return str(found or "nothing that is there")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        chosen = parse_id(self.value())
        return queryset.none() if chosen is None else self.narrow(queryset, chosen)

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.parameter_name}_id": chosen})
