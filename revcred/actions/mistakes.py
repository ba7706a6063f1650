"""Deletion of credentials that were issued by mistake, as long as no call came with them."""

from django.db.models import F
from django.db.transaction import atomic
from django.utils.translation import gettext

from revcred import hooks
from revcred.models import AuditEvent, AuditVerb, Credential, User
from revcred.models.audit import to_audit_json
from revcred.public_ids import SELECT_FINGERPRINTS_OF_CREDENTIAL
from revcred.texts import number_of
from revcred.time_zones import moment_with_zone

# Columns as of `hooks.row_numbers_with_usage`.
USAGE_QUERY = (
    "SELECT 1 AS number, {credential:d} AS credential_id, NULL::bigint[] AS subscription_ids,"
    " NULL::timestamptz AS since"
)


class CredentialUsed(Exception):
    """Calls came with the credential, so it explains them and is kept; as a sentence."""


@atomic
def delete_unused_credential(*, credential: Credential, by: User | None) -> None:
    """Delete the credential with its keys and assignments for good. Raises CredentialUsed."""
    Credential.objects.select_for_update().get(pk=credential.pk)
    if reason := reason_to_keep(credential):
        raise CredentialUsed(reason)
    AuditEvent.objects.record(
        AuditVerb.DELETED, target=credential, by=by, details=_last_values(credential)
    )
    credential.delete()


def reason_to_keep(credential: Credential) -> str:
    """Return a sentence on calls that came with the credential, or nothing."""
    used = credential.keys.filter(use__isnull=False).order_by(F("use__last_used_at").desc()).first()
    if used and used.last_used_at:
        return gettext("It was used last at %(moment)s. Revoke it instead.") % {
            "moment": moment_with_zone(used.last_used_at)
        }
    if hooks.row_numbers_with_usage(USAGE_QUERY.format(credential=credential.pk), most=1):
        return gettext("Calls were charged through it. Revoke it instead.")
    rows = SELECT_FINGERPRINTS_OF_CREDENTIAL.format(credential=credential.pk)
    waiting = hooks.count_waiting_for(rows).transactions
    if waiting:
        calls = number_of(waiting, "%(count)s call", "%(count)s calls")
        return gettext("In quarantine, %(calls)s came with it. Revoke it instead.") % {
            "calls": calls
        }
    return ""


def _last_values(credential: Credential) -> dict[str, object]:
    """Return what was known of the credential, without its keys."""
    keys = credential.keys.order_by("pk")
    assigned = credential.assignments.select_related("subscription").order_by("pk")
    return {
        "customer": credential.customer.name,
        "keys": ", ".join(str(key) for key in keys),
        "subscription": ", ".join(str(each.subscription) for each in assigned),
        "holders": ", ".join(map(str, credential.holders.order_by("pk"))),
        "issued": to_audit_json(credential.created_at),
    }
