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

# Every right that a page or an action asks for. Django creates more permissions, which nothing
# here asks for: they are not offered.
RIGHTS_BY_AREA: Mapping[str, Mapping[str, str]] = {
    "Customers and subscribers": {
        "revcred.view_customer": "See customers",
        "revcred.add_customer": "Add customers",
        "revcred.change_customer": "Change and suspend customers",
        "revcred.delete_customer": "Delete customers",
        "revcred.view_subscriber": "See subscribers",
        "revcred.add_subscriber": "Add subscribers",
        "revcred.change_subscriber": "Change subscribers and their addresses",
        "revcred.delete_subscriber": "Delete subscribers",
        "revcred.invite_subscriber": "Invite subscribers",
        "revcred.look_as_subscriber": "Look at the storefront as a subscriber does",
        "revcred.erase_subscriber": "Erase people for good, and export what is held about them",
        "revcred.view_membership": "See who is owner, member or viewer of a customer",
        "revcred.add_membership": "Add memberships",
        "revcred.change_membership": "Change roles of members",
        "revcred.delete_membership": "Remove memberships",
    },
    "Products and sources": {
        "revcred.view_appearance": "See what is set for the looks of the storefront",
        "revcred.change_appearance": "Change name, logo, colours and texts of the storefront",
        "revcred.view_product": "See products",
        "revcred.add_product": "Add products",
        "revcred.change_product": "Change products and their sources",
        "revcred.delete_product": "Delete products",
        "revcred.view_source": "See sources",
        "revcred.add_source": "Add sources",
        "revcred.change_source": "Change sources",
        "revcred.delete_source": "Delete sources",
        "revcred.view_pathrule": "See path rules",
        "revcred.add_pathrule": "Add path rules",
        "revcred.change_pathrule": "Change path rules",
        "revcred.delete_pathrule": "Delete path rules",
    },
    "Subscriptions and credentials": {
        "revcred.view_subscription": "See subscriptions",
        "revcred.add_subscription": "Start subscriptions",
        "revcred.change_subscription": "Change and end subscriptions",
        "revcred.delete_subscription": "Delete subscriptions",
        "revcred.view_credential": "See credentials, but never a key or secret",
        "revcred.add_credential": "Issue credentials",
        "revcred.change_credential": "Change, rotate, assign, suspend and revoke credentials",
        "revcred.delete_credential": "Delete credentials",
        "revcred.view_credentialrequest": "See requests of subscribers for credentials",
        "revcred.change_credentialrequest": "Approve and reject requests for credentials",
    },
    "Uploads": {
        "revcred.view_upload": "See uploads",
        "revcred.add_upload": "Upload lists, and see what they would do",
        "revcred.apply_upload": "Apply, cancel and undo uploads",
        "revcred.upload_usage": "Count calls of uploaded lists, and take them back",
    },
    "Metering": {
        "revcred.view_gateway": "See gateways",
        "revcred.add_gateway": "Add gateways",
        "revcred.change_gateway": "Change gateways, issue and revoke their tokens",
        "revcred.delete_gateway": "Delete gateways",
        "metering.view_transaction": "See transactions and receipts",
        "metering.view_usage": "See usage",
        "metering.view_intakestats": "See traffic by gateway and hour",
        "metering.view_quarantined": "See the quarantine",
        "metering.change_quarantined": "Mark as reviewed, put back and match what waits in"
        " quarantine, and choose when late calls count",
        "metering.view_discoveredsource": "See discovered sources",
        "metering.change_discoveredsource": "Add a discovered source",
        "metering.view_conflict": "See conflicts",
        "metering.view_rejection": "See rejected items, and why they were rejected",
        "metering.view_delivery": "See waiting batches",
        "metering.change_delivery": "Retry waiting batches",
        "metering.view_claim": "See re-attribution",
    },
    "Access and audit": {
        "revcred.view_user": "See users",
        "revcred.add_user": "Add users",
        "revcred.change_user": "Change users",
        "revcred.delete_user": "Delete users",
        "auth.view_group": "See roles and groups",
        "revcred.view_usertoken": "See tokens of scripts",
        "revcred.add_usertoken": "Issue tokens for scripts of one's own",
        "revcred.change_usertoken": "Revoke tokens of scripts",
        "revcred.view_outgoingmail": "See which mails were sent to whom",
        "revcred.view_auditevent": "See the audit",
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
        "Sees customers, subscriptions, credentials and their calls, invites subscribers, and looks"
        " at the storefront as they do. Changes no address, no role and no key.",
        frozenset(_VIEW_WORK_RIGHTS | {"revcred.invite_subscriber", "revcred.look_as_subscriber"}),
    ),
    Role(
        "Credential manager",
        "Issues, rotates, assigns, suspends and revokes credentials, finds out whose calls wait in"
        " quarantine, and invites subscribers.",
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
        "Uploads lists: adds and changes customers, subscribers, subscriptions and credentials, by"
        " upload or by hand. New people become members or viewers, not owners. May issue tokens"
        " for scripts.",
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
        "Sees everything, also users, uploads and the audit. Changes nothing.",
        frozenset(_VIEW_ALL_RIGHTS),
    ),
    Role(
        "Gateway operator",
        "Adds and changes gateways, issues and revokes their tokens, adds discovered sources and"
        " works through the quarantine.",
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
        "Does everything except what only superusers do: assign roles and rights, and change"
        " superusers and other administrators.",
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
