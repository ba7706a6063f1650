import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0232_who_issues_credentials"),
    ]

    operations = [
        migrations.CreateModel(
            name="CredentialRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(editable=False, max_length=200)),
                ("environment", models.CharField(blank=True, editable=False, max_length=50)),
                ("expires_at", models.DateTimeField(editable=False, null=True)),
                (
                    "note",
                    models.CharField(
                        blank=True, editable=False, max_length=500, verbose_name="what for"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("approved", "Approved"),
                            ("rejected", "Rejected"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        default="waiting",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("decided_at", models.DateTimeField(editable=False, null=True)),
                ("reason", models.CharField(blank=True, editable=False, max_length=500)),
                (
                    "credential",
                    models.OneToOneField(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="request",
                        to="revcred.credential",
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credential_requests",
                        to="revcred.customer",
                    ),
                ),
                (
                    "subscriber",
                    models.ForeignKey(
                        editable=False,
                        help_text="Who asks for it, and will hold it.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credential_requests",
                        to="revcred.subscriber",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="credential_requests",
                        to="revcred.subscription",
                    ),
                ),
            ],
            options={
                "verbose_name": "request for a credential",
                "verbose_name_plural": "requests for credentials",
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("decided_at", None)),
                        fields=["created_at"],
                        name="credentialrequest_waiting",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("decided_at", None)),
                        fields=("customer", "name"),
                        name="credentialrequest_once_at_a_time",
                        violation_error_message="A credential of this name is requested already.",
                    )
                ],
            },
        ),
    ]
