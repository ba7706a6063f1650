"""Views of lists that people of the staff have saved for themselves."""

from django.conf import settings
from django.db import models

MAX_QUERY_CHARACTERS = 4_000


class SavedView(models.Model):
    """A list's filters and columns under a name, for the one person who saved it.

    `page`: the list, by the label of its model. `query`: of the list's address, which has no key.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views", db_index=False
    )
    page = models.CharField(max_length=100)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=MAX_QUERY_CHARACTERS)

    class Meta:
        default_permissions = ()
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint("user", "page", "name", name="savedview_once_a_name"),
        )

    def __str__(self) -> str:
        return self.name
