"""Tables of Markdown, psql and mysql."""

import pytest

from revcred.uploads.reading import RowError

MARKDOWN = r"""# Keys of our partners

| Customer | **App** | API key | Owner |
|:---------|:-------:|---------|------:|
| acme     | A\|B    | `ak_1`  | [ada@acme.example](mailto:ada@acme.example) |
| acme     | R&amp;D | ak\_2   |       |
| acme     | C       | ak-3    |

Written by hand.

| Customer | **App** | API key | Owner |
|---|---|---|---|
| globex | D | ak-4 | |

| Plan | Price |
|------|-------|
| Gold | 12    |
"""
PSQL = """ customer | name |  key
----------+------+-------
 acme     | A    | k-1
          | B    |
(2 rows)
"""
MYSQL = """+----------+------+
| customer | name |
+----------+------+
| acme     | A    |
| NULL     | B    |
+----------+------+
2 rows in set (0.00 sec)
"""


def test_a_table_of_markdown(opened):
    with opened(MARKDOWN) as read:
        assert read.file_format == "Markdown, UTF-8"
        assert read.header == ["Customer", "App", "API key", "Owner"]
        assert dict(read.rows) == {
            5: ["acme", "A|B", "ak_1", "ada@acme.example"],
            6: ["acme", "R&D", "ak_2", ""],
            7: RowError("", "It has 3 cells, the header 4."),
            13: ["globex", "D", "ak-4", ""],
        }
        assert read.left_out == {
            "rows above the header": 1,
            "lines outside of the table": 1,
            "rows of further tables": 1,
        }


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (PSQL, {3: ["acme", "A", "k-1"], 4: ["", "B", ""]}),
        (MYSQL, {4: ["acme", "A"], 5: ["NULL", "B"]}),
    ],
)
def test_what_consoles_of_databases_print(opened, content, rows):
    with opened(content) as read:
        assert read.file_format == "Table of text, UTF-8"
        assert dict(read.rows) == rows
        assert not read.left_out


def test_cells_between_bars_are_csv_without_a_line_below_the_header(opened):
    with opened("customer|name\nacme|--\n") as read:
        assert read.file_format == "CSV, vertical bar, UTF-8"
