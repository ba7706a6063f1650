"""A compact table answers like a dictionary, also while it is written anew."""

import random
from unittest.mock import patch

from metering.verification import compact_table
from metering.verification.compact_table import CompactTable


def test_it_is_a_dictionary_of_records():
    choose = random.Random(1)
    known = {choose.getrandbits(64): choose.randbytes(choose.randrange(9)) for _ in range(200)}
    table = CompactTable(sorted(known.items()))
    with patch.object(compact_table, "MAX_CHANGES", 7):
        for _ in range(300):
            number = choose.choice([*known, choose.getrandbits(64)])
            record = choose.choice((None, b"", choose.randbytes(5)))
            table.put(number, record)
            known[number] = record
            asked = choose.choice([*known, choose.getrandbits(64)])
            assert table.get(asked) == known.get(asked)

    assert {number: table.get(number) for number in known} == known


def test_an_empty_table_has_nothing():
    assert CompactTable().get(0) is None
