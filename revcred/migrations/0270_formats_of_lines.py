from django.db import migrations, models

KINDS = [
    ("other", "Other"),
    ("nginx", "nginx"),
    ("apache", "Apache"),
    ("haproxy", "HAProxy"),
    ("caddy", "Caddy"),
    ("envoy", "Envoy"),
    ("istio", "Istio"),
    ("kong", "Kong"),
    ("traefik", "Traefik"),
    ("apisix", "APISIX"),
    ("tyk", "Tyk"),
    ("gravitee", "Gravitee"),
    ("aws", "AWS API Gateway"),
    ("azure", "Azure API Management"),
    ("apigee", "Apigee"),
    ("mulesoft", "MuleSoft"),
    ("ibm", "IBM API Connect"),
    ("snowflake", "Snowflake"),
]


class Migration(migrations.Migration):
    dependencies = [
        ("revcred", "0261_pending_erasures"),
    ]

    operations = [
        migrations.AlterField(
            model_name="gateway",
            name="kind",
            field=models.CharField(choices=KINDS, default="other", max_length=20),
        ),
        migrations.AddField(
            model_name="gateway",
            name="line_format",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="How what it posts to /v1/lines is read. Empty: as usual for its kind.",
                max_length=100,
                verbose_name="format of its lines",
            ),
        ),
    ]
