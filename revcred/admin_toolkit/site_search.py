"""The one search of the administration: what was typed, and what each kind of page finds for it.

It is posted, so that a key gets into no address. Every model admin answers for its own rows, by
`AuditedModelAdmin.search_hits`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from django.db import models
from django.urls import reverse

from revcred import pasting

MAX_HITS_PER_KIND = 6
MAX_TERM_CHARACTERS = 8_192  # twice the longest key, for a header's name and quotes around it


@dataclass(frozen=True)
class SearchTerm:
    """What was typed into the search field of all pages."""

    text: str

    @classmethod
    def from_posted(cls, posted: str) -> "SearchTerm":
        """Return the term without what PostgreSQL takes in no text, and cut to a size."""
        return cls(posted[:MAX_TERM_CHARACTERS].replace("\0", "").strip())

    @cached_property
    def key(self) -> str:
        """The key in it, such as that of a pasted header, or all of it."""
        return pasting.extract_key(self.text)

    @cached_property
    def is_marked_as_key(self) -> bool:
        """True if its shape, or what stands before it, shows that it is a key or a token."""
        return pasting.is_marked_as_key(self.text)

    @cached_property
    def may_be_key(self) -> bool:
        """True if the page must not show it again: it is a key, or may be one."""
        return (
            self.is_marked_as_key
            or pasting.looks_like_key(self.text)
            or pasting.is_known_key(self.text)
        )

    @cached_property
    def words(self) -> str:
        """The text as far as it may be a name; empty if it is a key."""
        return "" if self.is_marked_as_key else self.text


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """A row that was found. `detail` tells it apart from others, or why it was found."""

    label: str
    url: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchGroup:
    """The hits of one kind. `all_url`: the list with all that match; empty if these are all."""

    name: str
    hits: Sequence[SearchHit]
    all_url: str = ""


def page_of(row: models.Model) -> str:
    """Return the address of a row's page in the administration."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
