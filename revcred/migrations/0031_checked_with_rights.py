"""Lists that are ready are checked again: a preview says now which rights it takes to apply."""

from django.db import migrations

READY, CHECKING = "ready", "checking"


def check_again(apps, schema_editor):
    apps.get_model("revcred", "Upload").objects.filter(state=READY).update(
        state=CHECKING,
        preview={},
        is_staged=False,
        to_do=None,
        done=0,
        done_before=0,
        after=0,
        fraction=0,
        began_at=None,
        tries=0,
    )


class Migration(migrations.Migration):
    dependencies = [("revcred", "0021_roles_and_second_factor")]

    operations = [migrations.RunPython(check_again, migrations.RunPython.noop)]
