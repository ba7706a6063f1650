"""Names that Django derives are German on pages, in both apps."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.utils.translation import override

from metering.models import derived_names as names_of_metering
from revcred.models import derived_names

NAMES = {"revcred": derived_names, "metering": names_of_metering}


@pytest.mark.parametrize("app", NAMES)
def test_every_name_that_pages_show_is_marked(app):
    shown = set(admin.site._registry)
    for page in admin.site._registry.values():
        shown |= {inline.model for inline in page.inlines}
    unmarked = set()
    for model in shown & set(apps.get_app_config(app).get_models()):
        options, marks = model._meta, NAMES[app]
        given = options.original_attrs
        names = {
            "verbose_name": options.verbose_name,
            "verbose_name_plural": options.verbose_name_plural,
        }
        unmarked |= {str(name) for kind, name in names.items() if kind not in given} - marks.MODELS
        fields = [*options.local_fields, *options.local_many_to_many]
        derived = {str(each.verbose_name) for each in fields if each._verbose_name is None}
        unmarked |= derived - {"ID", "id"} - marks.FIELDS - marks.MODELS

    assert unmarked == set()


def test_names_are_in_the_language_of_the_page():
    credential = apps.get_model("revcred", "Credential")._meta
    with override("de"):
        assert str(credential.verbose_name_plural) == "Zugänge"
        assert str(credential.get_field("environment").verbose_name) == "Umgebung"
    assert str(credential.verbose_name_plural) == "credentials"
