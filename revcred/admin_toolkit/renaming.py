"""Pages of what calls may name: a new name is told to whoever judges them again."""

from typing import Any

from django.http import HttpRequest

from revcred.actions import names
from revcred.admin_toolkit.audited import AuditedModelAdmin


class ReattributeRenamedMixin(AuditedModelAdmin):
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if names.fields_named_by_calls(model=self.model) & {*form.changed_data}:
            names.reattribute_renamed(target=obj, by=request.user)  # type: ignore[arg-type]
