"""Ready-made roles, and the single rights they consist of, in words.

A role is a group that `migrate` creates and keeps as it stands here. What an installation needs
besides is a group of its own: no role is ever changed by hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_noop

from revcred.texts import gettext_lazy

# Every right that a page or an action asks for. Django creates more permissions, which nothing
# here asks for: they are not offered.
RIGHTS_BY_AREA: Mapping[str, Mapping[str, str]] = {
    gettext_noop("Customers and subscribers"): {
        "revcred.view_customer": gettext_lazy("See customers"),
        "revcred.add_customer": gettext_lazy("Add customers"),
        "revcred.change_customer": gettext_lazy("Change and suspend customers"),
        "revcred.delete_customer": gettext_lazy("Delete customers"),
        "revcred.view_subscriber": gettext_lazy("See subscribers"),
        "revcred.add_subscriber": gettext_lazy("Add subscribers"),
        "revcred.change_subscriber": gettext_lazy("Change subscribers and their addresses"),
        "revcred.delete_subscriber": gettext_lazy("Delete subscribers"),
        "revcred.invite_subscriber": gettext_lazy("Invite subscribers"),
        "revcred.look_as_subscriber": gettext_lazy("Look at the storefront as a subscriber does"),
        "revcred.erase_subscriber": gettext_lazy(
            "Erase people for good, and export what is held about them"
        ),
        "revcred.view_membership": gettext_lazy("See who is owner, member or viewer of a customer"),
        "revcred.add_membership": gettext_lazy("Add memberships"),
        "revcred.change_membership": gettext_lazy("Change roles of members"),
        "revcred.delete_membership": gettext_lazy("Remove memberships"),
    },
    gettext_noop("Products and sources"): {
        "revcred.view_appearance": gettext_lazy("See what is set for the looks of the storefront"),
        "revcred.change_appearance": gettext_lazy(
            "Change name, logo, colours and texts of the storefront"
        ),
        "revcred.view_product": gettext_lazy("See products"),
        "revcred.add_product": gettext_lazy("Add products"),
        "revcred.change_product": gettext_lazy("Change products and their sources"),
        "revcred.delete_product": gettext_lazy("Delete products"),
        "revcred.view_source": gettext_lazy("See sources"),
        "revcred.add_source": gettext_lazy("Add sources"),
        "revcred.change_source": gettext_lazy("Change sources"),
        "revcred.delete_source": gettext_lazy("Delete sources"),
        "revcred.view_pathrule": gettext_lazy("See path rules"),
        "revcred.add_pathrule": gettext_lazy("Add path rules"),
        "revcred.change_pathrule": gettext_lazy("Change path rules"),
        "revcred.delete_pathrule": gettext_lazy("Delete path rules"),
    },
    gettext_noop("Subscriptions and credentials"): {
        "revcred.view_subscription": gettext_lazy("See subscriptions"),
        "revcred.add_subscription": gettext_lazy("Start subscriptions"),
        "revcred.change_subscription": gettext_lazy("Change and end subscriptions"),
        "revcred.delete_subscription": gettext_lazy("Delete subscriptions"),
        "revcred.view_credential": gettext_lazy("See credentials, but never a key or secret"),
        "revcred.add_credential": gettext_lazy("Issue credentials"),
        "revcred.change_credential": gettext_lazy(
            "Change, rotate, assign, suspend and revoke credentials"
        ),
        "revcred.delete_credential": gettext_lazy("Delete credentials"),
        "revcred.view_credentialrequest": gettext_lazy(
            "See requests of subscribers for credentials"
        ),
        "revcred.change_credentialrequest": gettext_lazy(
            "Approve and reject requests for credentials"
        ),
    },
    gettext_noop("Uploads"): {
        "revcred.view_upload": gettext_lazy("See uploads"),
        "revcred.add_upload": gettext_lazy("Upload lists, and see what they would do"),
        "revcred.apply_upload": gettext_lazy("Apply, cancel and undo uploads"),
        "revcred.upload_usage": gettext_lazy("Count calls of uploaded lists, and take them back"),
    },
    gettext_noop("Metering"): {
        "revcred.view_gateway": gettext_lazy("See gateways"),
        "revcred.add_gateway": gettext_lazy("Add gateways"),
        "revcred.change_gateway": gettext_lazy("Change gateways, issue and revoke their tokens"),
        "revcred.delete_gateway": gettext_lazy("Delete gateways"),
        "metering.view_transaction": gettext_lazy("See transactions and receipts"),
        "metering.view_usage": gettext_lazy("See usage"),
        "metering.view_intakestats": gettext_lazy("See traffic by gateway and hour"),
        "metering.view_quarantined": gettext_lazy("See the quarantine"),
        "metering.change_quarantined": gettext_lazy(
            "Mark as reviewed, put back and match what waits in quarantine, and choose when late"
            " calls count"
        ),
        "metering.view_discoveredsource": gettext_lazy("See discovered sources"),
        "metering.change_discoveredsource": gettext_lazy("Add a discovered source"),
        "metering.view_conflict": gettext_lazy("See conflicts"),
        "metering.view_rejection": gettext_lazy("See rejected items, and why they were rejected"),
        "metering.view_delivery": gettext_lazy("See waiting batches"),
        "metering.change_delivery": gettext_lazy("Retry waiting batches"),
        "metering.view_claim": gettext_lazy("See re-attribution"),
    },
    gettext_noop("Access and audit"): {
        "revcred.view_user": gettext_lazy("See users"),
        "revcred.add_user": gettext_lazy("Add users"),
        "revcred.change_user": gettext_lazy("Change users"),
        "revcred.delete_user": gettext_lazy("Delete users"),
        "auth.view_group": gettext_lazy("See roles and groups"),
        "revcred.view_usertoken": gettext_lazy("See tokens of scripts"),
        "revcred.add_usertoken": gettext_lazy("Issue tokens for scripts of one's own"),
        "revcred.change_usertoken": gettext_lazy("Revoke tokens of scripts"),
        "revcred.view_outgoingmail": gettext_lazy("See which mails were sent to whom"),
        "revcred.view_auditevent": gettext_lazy("See the audit"),
    },
}
RIGHT_LABELS: Mapping[str, str] = {
    right: words for area in RIGHTS_BY_AREA.values() for right, words in area.items()
}


@dataclass(frozen=True)
class Role:
    """A group that `migrate` keeps: its name, a sentence for whoever assigns it, and its rights."""

    name: str
    explanation: str
    rights: frozenset[str]


def _rights_to(*verbs: str, of: Iterable[str]) -> set[str]:
    """Return the rights with these verbs to these models, such as `revcred.view_customer`."""
    return {
        right
        for app, _, model in (name.partition(".") for name in of)
        for right in (f"{app}.{verb}_{model}" for verb in verbs)
        if right in RIGHT_LABELS
    }


_CUSTOMER_MODELS = ("revcred.customer", "revcred.subscriber", "revcred.membership")
_PRODUCT_MODELS = ("revcred.product", "revcred.source", "revcred.pathrule")
_CREDENTIAL_MODELS = ("revcred.subscription", "revcred.credential")
# Whoever helps a customer has to see what became of the calls.
_METERING_MODELS = (
    "revcred.gateway",
    "metering.transaction",
    "metering.usage",
    "metering.intakestats",
    "metering.quarantined",
    "metering.discoveredsource",
    "metering.conflict",
    "metering.rejection",
    "metering.delivery",
    "metering.claim",
)
_VIEW_ALL_RIGHTS = {right for right in RIGHT_LABELS if right.partition(".")[2].startswith("view_")}
_VIEW_WORK_RIGHTS = _rights_to(
    "view",
    of=(
        *_CUSTOMER_MODELS,
        *_PRODUCT_MODELS,
        *_CREDENTIAL_MODELS,
        *_METERING_MODELS,
        "revcred.credentialrequest",
    ),
)
# Importers automate: their scripts need tokens.
_OWN_TOKEN_RIGHTS = _rights_to("view", "add", "change", of=["revcred.usertoken"])

READY_MADE_ROLES = (
    Role(
        "Support",
        gettext_lazy(
            "Sees customers, subscriptions, credentials and their calls, invites subscribers, and"
            " looks at the storefront as they do. Changes no address, no role and no key."
        ),
        frozenset(_VIEW_WORK_RIGHTS | {"revcred.invite_subscriber", "revcred.look_as_subscriber"}),
    ),
    Role(
        "Credential manager",
        gettext_lazy(
            "Issues, rotates, assigns, suspends and revokes credentials, finds out whose calls"
            " wait in quarantine, and invites subscribers."
        ),
        frozenset(
            _VIEW_WORK_RIGHTS
            | _rights_to("add", "change", of=["revcred.credential"])
            | {
                "metering.change_quarantined",
                "revcred.change_credentialrequest",
                "revcred.invite_subscriber",
            }
        ),
    ),
    Role(
        "Importer",
        gettext_lazy(
            "Uploads lists: adds and changes customers, subscribers, subscriptions and"
            " credentials, by upload or by hand. New people become members or viewers, not owners."
            " May issue tokens for scripts."
        ),
        frozenset(
            _VIEW_WORK_RIGHTS
            | {"revcred.add_membership"}
            | _rights_to("view", "add", "apply", of=["revcred.upload"])
            | _rights_to(
                "add",
                "change",
                of=["revcred.customer", "revcred.subscriber", *_CREDENTIAL_MODELS],
            )
            | _OWN_TOKEN_RIGHTS
        ),
    ),
    Role(
        "Auditor",
        gettext_lazy("Sees everything, also users, uploads and the audit. Changes nothing."),
        frozenset(_VIEW_ALL_RIGHTS),
    ),
    Role(
        "Gateway operator",
        gettext_lazy(
            "Adds and changes gateways, issues and revokes their tokens, adds discovered sources"
            " and works through the quarantine."
        ),
        frozenset(
            _VIEW_WORK_RIGHTS
            | _rights_to("add", "change", of=["revcred.gateway"])
            | {
                "metering.change_quarantined",
                "metering.change_discoveredsource",
                "metering.change_delivery",
            }
        ),
    ),
    Role(
        "Administrator",
        gettext_lazy(
            "Does everything except what only superusers do: assign roles and rights, and change"
            " superusers and other administrators."
        ),
        frozenset(RIGHT_LABELS),
    ),
)
ROLES_BY_NAME: Mapping[str, Role] = {role.name: role for role in READY_MADE_ROLES}


def offered_permissions() -> QuerySet[Permission]:
    """Return the permissions that revcred asks for."""
    wanted = Q(pk__in=[])
    for right in RIGHT_LABELS:
        app, _, codename = right.partition(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    return Permission.objects.filter(wanted).select_related("content_type")


def right_name(permission: Permission) -> str:
    """Return the name by which a permission is asked for, such as `revcred.view_customer`."""
    return f"{permission.content_type.app_label}.{permission.codename}"


INVITE_CODENAME = "invite_subscriber"  # a right that came with the roles


def sync_roles(*, using: str = "default", apps: Any = installed, **_: Any) -> None:
    """Create the roles' groups, and set their permissions as they stand here. Runs after `migrate`.

    Permissions are created first: Django creates those of an app only when it gets to that app.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
        subscriber_model = apps.get_model("revcred", "Subscriber")
    # Runs after every migrate, also of other apps and backwards.
    except LookupError:
        return  # migrated to a state before there were groups
    if INVITE_CODENAME not in [codename for codename, _ in subscriber_model._meta.permissions]:
        return  # migrated back to a state before there were roles
    for label in sorted({right.partition(".")[0] for right in RIGHT_LABELS}):
        config = installed.get_app_config(label)
        create_permissions(config, verbosity=0, using=using, apps=apps)
    known = permission_model._base_manager.using(using).values_list(
        "content_type__app_label", "codename", "pk"
    )
    permissions = {f"{app}.{codename}": pk for app, codename, pk in known}
    groups = group_model._base_manager.using(using)
    # Several processes may migrate at once: a group that another one created is fine.
    groups.bulk_create(
        [group_model(name=each.name) for each in READY_MADE_ROLES], ignore_conflicts=True
    )
    numbers = dict(groups.filter(name__in=ROLES_BY_NAME).values_list("name", "pk"))
    wanted = {
        (numbers[role.name], permissions[right])
        for role in READY_MADE_ROLES
        for right in role.rights
        if right in permissions
    }
    through = group_model.permissions.through
    # Only differences are written: on most runs there are none.
    given = through._base_manager.using(using).filter(group__in=numbers.values())
    # values_list() gives the columns as defined: id, group, permission.
    has = {(group, permission): pk for pk, group, permission in given.values_list()}
    given.filter(pk__in=[has[pair] for pair in has.keys() - wanted]).delete()
    through._base_manager.using(using).bulk_create(
        [through(group_id=group, permission_id=right) for group, right in wanted - has.keys()],
        ignore_conflicts=True,
    )
