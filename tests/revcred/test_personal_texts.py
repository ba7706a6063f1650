"""A person's texts are found as whole words, alike by Python and by PostgreSQL."""

import pytest
from django.db import connection

from revcred.personal_texts import PersonalText, TextKind, replace_in_value

pytestmark = pytest.mark.django_db

ADDRESS = PersonalText("o'neil+a@x-y.com", "X", TextKind.ADDRESS)
UMLAUT = PersonalText("zoë@münchen.example", "X", TextKind.ADDRESS)
NAME = PersonalText('Ada "Countess" King', "X", TextKind.WORDS)
WHOLE = PersonalText("Ada", "X", TextKind.WHOLE)


@pytest.mark.parametrize(
    ("text", "stored", "shown"),
    [
        (ADDRESS, "o'neil+a@x-y.com", "X"),
        (ADDRESS, "To O'Neil+A@X-Y.COM.", "To X."),
        (ADDRESS, "<o'neil+a@x-y.com>,o'neil+a@x-y.com", "<X>,X"),
        (ADDRESS, "/of/o'neil+a%40x-y.com?b", "/of/X?b"),
        (ADDRESS, "o'neil+a@x-y.com.csv", "X.csv"),
        (ADDRESS, r"a\no'neil+a@x-y.com", r"a\nX"),
        (ADDRESS, "?to=%20o'neil+a@x-y.com", "?to=%20X"),
        (ADDRESS, "mo'neil+a@x-y.com", None),
        (ADDRESS, "b.o'neil+a@x-y.com", None),
        (ADDRESS, "o'neil+a@x-y.com.au", None),
        (ADDRESS, "o'neil+a@x-y.company", None),
        (ADDRESS, "o'neil+a@xxy.com", None),
        (UMLAUT, "an Zoë@münchen.example", "an X"),
        (NAME, 'for ada "countess" king: 1', "for X: 1"),
        (NAME, r'{"by": "Ada \"Countess\" King"}', '{"by": "X"}'),
        (NAME, 'Ada "Countess" Kingsley', None),
        (WHOLE, "Ada", "X"),
        (WHOLE, "Ada's", None),
    ],
)
def test_it_is_found_as_a_whole(text, stored, shown):
    with connection.cursor() as cursor:
        cursor.execute("SELECT regexp_replace(%s, %s, 'X', 'gi')", [stored, text.pattern])
        (by_postgresql,) = cursor.fetchone()

    assert by_postgresql == replace_in_value(stored, [text]) == (shown or stored)


def test_texts_within_json_are_replaced():
    assert replace_in_value({"Ada": [1, None, "Ada", "Adam"]}, [WHOLE]) == {
        "X": [1, None, "X", "Adam"]
    }
