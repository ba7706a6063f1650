"""Pages of what calls may name: a new name is told to whoever judges them again."""

from typing import Any

from django.http import HttpRequest

from revcred.actions import names
from revcred.admin_toolkit.audited import Recorded


class ToldByName(Recorded):
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if names.names_of(model=self.model) & {*form.changed_data}:
            names.renamed(target=obj, by=request.user)  # type: ignore[arg-type]
