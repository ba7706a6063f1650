"""Admin pages of things that calls may name."""

from typing import Any

from django.http import HttpRequest

from revcred.actions import names
from revcred.admin_toolkit.audited import AuditedModelAdmin


class ReattributeRenamedMixin(AuditedModelAdmin):
    """Re-attributes calls that name a thing once its name was changed."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if names.fields_named_by_calls(model=self.model) & {*form.changed_data}:
            names.reattribute_renamed(target=obj, by=request.user)  # type: ignore[arg-type]
