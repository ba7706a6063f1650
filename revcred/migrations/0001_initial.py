import django.contrib.postgres.constraints
import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.text
import django.utils.timezone
import revcred.crypto
import revcred.models.periods
from django.conf import settings
from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        BtreeGistExtension(),
        migrations.CreateModel(
            name="ExternalKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("active_from", models.DateTimeField(verbose_name="from")),
                (
                    "active_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Not included. Empty: open-ended.",
                        null=True,
                        verbose_name="until",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("key", "Key"), ("alias", "Alias")], default="key", max_length=5
                    ),
                ),
                ("fingerprint", models.UUIDField(editable=False)),
                ("hint", models.CharField(blank=True, editable=False, max_length=4)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ("-active_from", "-pk"),
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Gateway",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("other", "Other"),
                            ("nginx", "nginx"),
                            ("envoy", "Envoy"),
                            ("kong", "Kong"),
                            ("traefik", "Traefik"),
                            ("apisix", "APISIX"),
                            ("tyk", "Tyk"),
                            ("gravitee", "Gravitee"),
                            ("aws", "AWS API Gateway"),
                            ("azure", "Azure API Management"),
                            ("apigee", "Apigee"),
                        ],
                        default="other",
                        max_length=20,
                    ),
                ),
                (
                    "suspended_at",
                    models.DateTimeField(
                        blank=True, help_text="From then on its tokens are refused.", null=True
                    ),
                ),
                ("last_seen_at", models.DateTimeField(editable=False, null=True)),
                (
                    "clock_ahead",
                    models.DurationField(
                        editable=False,
                        help_text="How far its newest transaction was ahead of our clock when it arrived; negative for the usual delay.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Source",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "external_key",
                    models.CharField(
                        help_text="What gateways send as source.", max_length=200, unique=True
                    ),
                ),
                (
                    "url_prefixes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=500),
                        blank=True,
                        default=list,
                        help_text="Paths that belong to it where no source is sent, such as /maps/v1/. The longest that fits wins.",
                        size=None,
                    ),
                ),
            ],
            options={
                "ordering": ("name", "pk"),
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                (
                    "last_login",
                    models.DateTimeField(blank=True, null=True, verbose_name="last login"),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("name", models.CharField(blank=True, max_length=150)),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="May sign in to the administration.",
                        verbose_name="staff",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Switch off instead of deleting a user.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "ordering": ("email",),
            },
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("actor_id", models.BigIntegerField(null=True)),
                ("actor", models.CharField(blank=True, max_length=254)),
                (
                    "verb",
                    models.CharField(
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
                            ("token_issued", "Token issued"),
                            ("token_revoked", "Token revoked"),
                            ("released", "Released"),
                            ("put_back", "Put back"),
                        ],
                        max_length=20,
                    ),
                ),
                ("target_type", models.CharField(max_length=100)),
                ("target_id", models.BigIntegerField(null=True)),
                ("target", models.CharField(max_length=300)),
                ("details", models.JSONField(default=dict)),
                ("address", models.GenericIPAddressField(null=True, verbose_name="from")),
                ("digest", models.BinaryField(max_length=32)),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["target_type", "target_id"], name="auditevent_by_target")
                ],
            },
        ),
        migrations.CreateModel(
            name="Customer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "external_key",
                    models.CharField(
                        help_text="The name other systems know this customer by.",
                        max_length=200,
                        unique=True,
                    ),
                ),
                (
                    "email_domains",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=253),
                        blank=True,
                        default=list,
                        help_text="Separated by commas, such as example.com, example.org.",
                        size=None,
                    ),
                ),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Separated by commas.",
                        size=None,
                    ),
                ),
                ("metadata", models.JSONField(blank=True, default=dict)),
                (
                    "suspended_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="From then on its keys and secrets are not revealed. Usage is still counted.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(
                        django.contrib.postgres.indexes.OpClass(
                            django.db.models.functions.text.Lower("name"), "text_pattern_ops"
                        ),
                        name="customer_by_name",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Credential",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "environment",
                    models.CharField(
                        blank=True, help_text="Such as production or staging.", max_length=50
                    ),
                ),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Separated by commas.",
                        size=None,
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("revocation_reason", models.CharField(blank=True, editable=False, max_length=500)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credentials",
                        to="revcred.customer",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.CreateModel(
            name="SealedValue",
            fields=[
                (
                    "external_key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="sealed",
                        serialize=False,
                        to="revcred.externalkey",
                    ),
                ),
                ("value", revcred.crypto.SealedTextField(null=True)),
                ("secret", revcred.crypto.SealedTextField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="externalkey",
            name="credential",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="keys",
                to="revcred.credential",
            ),
        ),
        migrations.AddField(
            model_name="externalkey",
            name="gateway",
            field=models.ForeignKey(
                blank=True,
                help_text="The only gateway it counts at. Empty: any.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="external_keys",
                to="revcred.gateway",
            ),
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("member", "Member"), ("viewer", "Viewer")],
                        default="member",
                        max_length=10,
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="revcred.customer",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SealedCanary",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", revcred.crypto.SealedTextField()),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("pk", 1)), name="sealedcanary_only_one"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("version", models.CharField(blank=True, max_length=50)),
                ("external_key", models.CharField(max_length=200, unique=True)),
                ("published", models.BooleanField(default=True)),
                (
                    "sources",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The APIs it covers. A product without sources covers all of them.",
                        related_name="products",
                        to="revcred.source",
                    ),
                ),
            ],
            options={
                "ordering": ("name", "version", "pk"),
            },
        ),
        migrations.CreateModel(
            name="Subscriber",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("name", models.CharField(blank=True, max_length=200)),
                (
                    "external_key",
                    models.CharField(blank=True, max_length=200, null=True, unique=True),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "customers",
                    models.ManyToManyField(
                        related_name="subscribers",
                        through="revcred.Membership",
                        to="revcred.customer",
                    ),
                ),
                (
                    "user",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="subscriber",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
            },
        ),
        migrations.AddField(
            model_name="membership",
            name="subscriber",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="memberships",
                to="revcred.subscriber",
            ),
        ),
        migrations.AddField(
            model_name="credential",
            name="holders",
            field=models.ManyToManyField(
                blank=True,
                help_text="The people who use it and may reveal it.",
                related_name="credentials",
                to="revcred.subscriber",
            ),
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("active_from", models.DateTimeField(verbose_name="from")),
                (
                    "active_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Not included. Empty: open-ended.",
                        null=True,
                        verbose_name="until",
                    ),
                ),
                (
                    "external_key",
                    models.CharField(
                        help_text="What gateways send as subscription.", max_length=200, unique=True
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=200)),
                (
                    "quota",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Calls a month that are included. Shown, not enforced.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="revcred.customer",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="revcred.product",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Assignment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("active_from", models.DateTimeField(verbose_name="from")),
                (
                    "active_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Not included. Empty: open-ended.",
                        null=True,
                        verbose_name="until",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "credential",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="assignments",
                        to="revcred.credential",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="revcred.customer",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="assignments",
                        to="revcred.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-active_from", "-pk"),
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Suspension",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("active_from", models.DateTimeField(verbose_name="from")),
                (
                    "active_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Not included. Empty: open-ended.",
                        null=True,
                        verbose_name="until",
                    ),
                ),
                (
                    "credential",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="suspensions",
                        to="revcred.credential",
                    ),
                ),
            ],
            options={
                "ordering": ("active_from",),
                "abstract": False,
            },
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower("email"),
                name="user_email_any_case",
                violation_error_message="There is a user with this address already.",
            ),
        ),
        migrations.AddIndex(
            model_name="externalkey",
            index=models.Index(
                fields=["fingerprint"],
                include=("gateway", "active_from", "active_until", "credential"),
                name="externalkey_by_fingerprint",
            ),
        ),
        migrations.AddIndex(
            model_name="externalkey",
            index=models.Index(fields=["hint"], name="externalkey_by_hint"),
        ),
        migrations.AddConstraint(
            model_name="externalkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("active_until", None),
                    ("active_until__gt", models.F("active_from")),
                    _connector="OR",
                ),
                name="externalkey_ends_after_it_starts",
                violation_error_message="The end has to be after the start.",
            ),
        ),
        migrations.AddConstraint(
            model_name="externalkey",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("fingerprint", "="),
                    (
                        django.db.models.functions.comparison.Coalesce(models.F("gateway_id"), 0),
                        "=",
                    ),
                    (revcred.models.periods.TsTzRange("active_from", "active_until"), "&&"),
                ],
                name="externalkey_means_one_credential",
                violation_error_message="This key is in use already in that time.",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriber",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower("email"),
                name="subscriber_email_any_case",
                violation_error_message="There is a subscriber with this address already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                models.F("customer"),
                models.F("subscriber"),
                name="membership_once",
                violation_error_message="This subscriber belongs to this customer already.",
            ),
        ),
        migrations.AddIndex(
            model_name="credential",
            index=models.Index(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Lower("name"), "text_pattern_ops"
                ),
                name="credential_by_name",
            ),
        ),
        migrations.AddConstraint(
            model_name="credential",
            constraint=models.UniqueConstraint(
                models.F("customer"),
                models.F("name"),
                name="credential_name_of_customer",
                violation_error_message="This customer has a credential of this name already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="credential",
            constraint=models.UniqueConstraint(
                models.F("id"), models.F("customer"), name="credential_of_customer"
            ),
        ),
        migrations.AddConstraint(
            model_name="credential",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("revocation_reason", ""), ("revoked_at", None)),
                    models.Q(
                        ("revoked_at__isnull", False),
                        models.Q(("revocation_reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="credential_revoked_with_a_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Lower("name"), "text_pattern_ops"
                ),
                name="subscription_by_name",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("active_until", None),
                    ("active_until__gt", models.F("active_from")),
                    _connector="OR",
                ),
                name="subscription_ends_after_it_starts",
                violation_error_message="The end has to be after the start.",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(
                models.F("id"), models.F("customer"), name="subscription_of_customer"
            ),
        ),
        migrations.AddConstraint(
            model_name="assignment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("active_until", None),
                    ("active_until__gt", models.F("active_from")),
                    _connector="OR",
                ),
                name="assignment_ends_after_it_starts",
                violation_error_message="The end has to be after the start.",
            ),
        ),
        migrations.AddConstraint(
            model_name="assignment",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("credential", "="),
                    ("subscription", "="),
                    (revcred.models.periods.TsTzRange("active_from", "active_until"), "&&"),
                ],
                name="assignment_once_at_a_time",
                violation_error_message="It feeds this subscription already in that time.",
            ),
        ),
        migrations.AddConstraint(
            model_name="suspension",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("active_until", None),
                    ("active_until__gt", models.F("active_from")),
                    _connector="OR",
                ),
                name="suspension_ends_after_it_starts",
                violation_error_message="The end has to be after the start.",
            ),
        ),
        migrations.AddConstraint(
            model_name="suspension",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("credential", "="),
                    (revcred.models.periods.TsTzRange("active_from", "active_until"), "&&"),
                ],
                name="suspension_once_at_a_time",
            ),
        ),
    ]
