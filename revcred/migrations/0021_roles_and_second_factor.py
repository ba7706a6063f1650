from django.db import migrations, models

ROLES = (
    "Support",
    "Credential manager",
    "Importer",
    "Auditor",
    "Gateway operator",
    "Administrator",
)
INVITE = {"codename": "invite_subscriber", "name": "Can invite subscribers"}


SET_ASIDE = " (role)"  # behind a role's name, while the release before is in use again


def make_room_for_roles(apps, schema_editor):
    """Rename groups that an installation gave a role's name: `migrate` fills that of the role.

    Roles that were set aside get their names back, with their members.
    """
    Group = apps.get_model("auth", "Group")
    groups = Group.objects.using(schema_editor.connection.alias)
    for group in groups.filter(name__in=ROLES):
        name = f"{group.name} (own)"
        number = 2
        while groups.filter(name=name).exists():
            name = f"{group.name} (own {number})"
            number += 1
        group.name = name
        group.save(update_fields=["name"])
    for role in ROLES:
        groups.filter(name=f"{role}{SET_ASIDE}").update(name=role)


def set_roles_aside(apps, schema_editor):
    """Keep the roles' groups apart from those that the installation makes of the same names."""
    Group = apps.get_model("auth", "Group")
    for group in Group.objects.using(schema_editor.connection.alias).filter(name__in=ROLES):
        group.name = f"{group.name}{SET_ASIDE}"
        group.save(update_fields=["name"])


def let_those_invite_who_could(apps, schema_editor):
    """Inviting asked for the right to change a subscriber, and has a right of its own now."""
    using = schema_editor.connection.alias
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    change = (
        Permission.objects.using(using)
        .filter(content_type__app_label="revcred", codename="change_subscriber")
        .first()
    )
    if change is None:
        return  # a new installation, where nobody has any right yet
    invite, _ = Permission.objects.using(using).get_or_create(
        content_type=ContentType.objects.using(using).get(app_label="revcred", model="subscriber"),
        codename=INVITE["codename"],
        defaults={"name": INVITE["name"]},
    )
    for group in change.group_set.all():
        group.permissions.add(invite)
    for user in change.user_set.all():
        user.user_permissions.add(invite)


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0013_staff_and_subscribers_apart"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="subscriber",
            options={
                "ordering": ("-pk",),
                "permissions": (("invite_subscriber", "Can invite subscribers"),),
            },
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="verb",
            field=models.CharField(
                choices=[
                    ("created", "Created"),
                    ("changed", "Changed"),
                    ("deleted", "Deleted"),
                    ("issued", "Issued"),
                    ("alias_added", "Alias added"),
                    ("key_ended", "Key ended"),
                    ("rotated", "Rotated"),
                    ("suspended", "Suspended"),
                    ("resumed", "Resumed"),
                    ("revoked", "Revoked"),
                    ("assigned", "Assigned"),
                    ("moved", "Moved"),
                    ("unassigned", "Unassigned"),
                    ("key_revealed", "Key revealed"),
                    ("secret_revealed", "Secret revealed"),
                    ("invited", "Invited"),
                    ("invitation_accepted", "Invitation accepted"),
                    ("signed_in", "Signed in"),
                    ("sign_in_failed", "Sign-in failed"),
                    ("sign_in_limited", "Sign-in refused, too many attempts"),
                    ("signed_out", "Signed out"),
                    ("reset_asked", "Link for a new password sent"),
                    ("reset_limited", "Link refused, too many requests"),
                    ("password_reset", "Password set by link"),
                    ("password_changed", "Password changed"),
                    ("address_asked", "New address asked for"),
                    ("address_changed", "Address changed"),
                    ("address_cancelled", "New address cancelled"),
                    ("reveals_resumed", "New address confirmed by password"),
                    ("many_revealed", "Many keys revealed"),
                    ("role_changed", "Role changed"),
                    ("rights_changed", "Rights changed"),
                    ("made_staff", "Made staff"),
                    ("made_superuser", "Made superuser"),
                    ("deactivated", "Deactivated"),
                    ("activated", "Activated"),
                    ("token_issued", "Token issued"),
                    ("token_revoked", "Token revoked"),
                    ("released", "Released"),
                    ("put_back", "Put back"),
                    ("uploaded", "Uploaded"),
                    ("applied", "Applied"),
                    ("cancelled", "Cancelled"),
                    ("undone", "Undone"),
                    ("factor_added", "Second factor added"),
                    ("factor_removed", "Second factor removed"),
                    ("factor_reset", "Second factor reset"),
                    ("factor_failed", "Second factor failed"),
                    ("factor_limited", "Second factor refused, too many attempts"),
                    ("recovery_code_used", "Recovery code used"),
                ],
                max_length=20,
            ),
        ),
        migrations.RunPython(make_room_for_roles, set_roles_aside),
        migrations.RunPython(let_those_invite_who_could, migrations.RunPython.noop),
    ]
