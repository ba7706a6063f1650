from django.contrib.postgres.operations import TrigramExtension, UnaccentExtension
from django.db import migrations

# What the search compares: small letters, no accents. IMMUTABLE, so that it can be indexed, though
# `unaccent` is only STABLE: its dictionary is a file that changes with a release of PostgreSQL.
CREATE_SEARCH_TEXT = """
CREATE OR REPLACE FUNCTION search_text(VARIADIC texts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower(public.unaccent('public.unaccent', array_to_string(texts, ' ')))
$$
"""


class Migration(migrations.Migration):
    dependencies = [("revcred", "0190_words_of_the_admin_pages")]

    operations = [
        TrigramExtension(),
        UnaccentExtension(),
        migrations.RunSQL(CREATE_SEARCH_TEXT, "DROP FUNCTION search_text(text[])"),
    ]
