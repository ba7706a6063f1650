"""The function that PostgreSQL runs is the one that can be read in the source."""

import re
from pathlib import Path

import pytest
from django.db import connection

from metering.attribution import judging

SOURCE = Path(judging.__file__).with_name("owner_by_name.sql")
BODY = re.compile(r"CREATE FUNCTION (\w+)\(.*?\)\s+RETURNS.*?AS \$\$(.*?)\$\$;", re.DOTALL)


def written_functions():
    text = SOURCE.read_text()
    return dict(BODY.findall(text))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["former_holders", "owner_by_name"])
def test_the_database_has_the_function_of_the_source(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", [name])
        bodies = [body for (body,) in cursor.fetchall()]

    assert bodies == [written_functions()[name]]


def test_every_function_of_the_source_is_compared():
    assert set(written_functions()) == {"former_holders", "owner_by_name"}
