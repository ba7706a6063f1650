from django.contrib import admin

from revcred.admin.badges import badge
from revcred.admin.recorded import ReadOnly
from revcred.models import AuditEvent

Verb = AuditEvent.Verb

GRAVE = {Verb.REVOKED, Verb.DELETED, Verb.KEY_REVEALED, Verb.SECRET_REVEALED, Verb.TOKEN_REVOKED}


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly):
    list_display = ("at", "what", "target", "kind", "actor", "address")
    list_display_links = ("at",)
    fields = ("at", "what", "target", "kind", "actor", "address", "details")
    readonly_fields = fields

    @admin.display(description="what")
    def what(self, event: AuditEvent) -> str:
        return badge(event.get_verb_display(), "bad" if event.verb in GRAVE else "over")

    @admin.display(description="kind")
    def kind(self, event: AuditEvent) -> str:
        return event.target_type.rpartition(".")[2]
