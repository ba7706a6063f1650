from django.db import models
from django.db.models import Func


class TimeOrderedId(Func):
    """A version 7 UUID, which begins with the millisecond: an index of them grows at its end."""

    function = "time_ordered_id"
    arity = 0
    output_field = models.UUIDField()
