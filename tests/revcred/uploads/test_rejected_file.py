"""Rejected rows come back as they stand in the file, are corrected, and are sent again."""

from io import BytesIO

import pytest
from xlsxwriter import Workbook

from revcred.models import Upload
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from revcred.uploads.reading import open_list
from tests import factories
from tests.revcred.uploads.conftest import worked

pytestmark = pytest.mark.django_db

UNKNOWN = "customer: No customer has this external key."


@pytest.fixture
def brought():
    """A file of these bytes, received and checked."""

    def bring(content, name, **settings):
        upload = actions.receive_upload(
            # Most rows here name no keys.
            **{
                "kind": ListKind.CREDENTIALS,
                "by": None,
                "choices": actions.UploadChoices(missing_keys="generate"),
            }
            | settings,
            file=BytesIO(content),
            name=name,
        )
        return worked(upload)

    return bring


def rejected_of(upload):
    to = BytesIO()
    actions.write_rejected_rows(upload=upload, to=to)
    return to.getvalue()


def utf16(text):
    return b"\xff\xfe" + text.encode("utf-16-le")


CONSUMER_OF_TWO = (
    b"username: nobody\n  keyauth_credentials:\n  - key: '007'\n  - key: key-number-02\n"
)
# by shape: the name and the file, with a good row A, and what comes back
SHAPES = {
    "semicolons, Windows line ends, quotes": (
        "list.csv",
        b'Customer;"Name";API key\r\nacme;A;key-number-01\r\nnobody;"B; ""C""";007\r\n',
        b'error;Customer;"Name";API key\r\n"Row 3: %s";nobody;"B; ""C""";007\r\n',
    ),
    "a separator line, old Mac line ends, no end of the last line": (
        "list.csv",
        b"sep=;\ncustomer;name\racme;A\rnobody;B",
        b'sep=;\nerror;customer;name\r"Row 4: %s";nobody;B\r',
    ),
    "a byte order mark, blank lines, a cell of two lines": (
        "list.csv",
        b'\xef\xbb\xbf\ncustomer,name\n\nacme,A\nnobody,"B\nC"\n',
        b'\xef\xbb\xbf\nerror,customer,name\n"Row 5: %s",nobody,"B\nC"\n',
    ),
    "UTF-16 with tabs": (
        "list.tsv",
        utf16("customer\tname\nacme\tA\nnobody\tBäh\n"),
        lambda reason: utf16(f'error\tcustomer\tname\n"Row 3: {reason}"\tnobody\tBäh\n'),
    ),
    "a guarded formula": (
        "list.csv",
        b"customer,name\nacme,A\nnobody,'=1+1\n",
        b'error,customer,name\n"Row 3: %s",nobody,\'=1+1\n',
    ),
    "an export that is translated": (
        "keys.csv",
        b"name,key,enabled,customer\nA,key-number-01,true,acme\nB,key-number-02,true,nobody\n",
        b'error,name,key,enabled,customer\n"Row 3: %s",B,key-number-02,true,nobody\n',
    ),
    "JSON Lines with numbers as they were written": (
        "list.jsonl",
        b'{"customer": "acme", "name": "A"}\n{"customer": "nobody", "name": "B", "n": 1.50}\n',
        b'{"error":"Row 2: %s","customer":"nobody","name":"B","n":1.50}\n',
    ),
    "a list of JSON": (
        "list.json",
        b'[{"customer": "acme", "name": "A"}, {"customer": "nobody", "name": "B"}]',
        b'[\n{"error":"Row 2: %s","customer":"nobody","name":"B"}\n]\n',
    ),
    "a list inside an object": (
        "list.json",
        b'{"keys": [{"customer": "acme", "name": "A"}, {"customer": "nobody", "name": "B"}]}',
        b'{"keys": [\n{"error":"Row 2: %s","customer":"nobody","name":"B"}\n]}\n',
    ),
    "a header below a title": (
        "list.csv",
        b"Keys of all,\ncustomer,name\nacme,A\nnobody,B\n",
        b'Keys of all,\nerror,customer,name\n"Row 4: %s",nobody,B\n',
    ),
    "objects with lists of objects, of which two rows are one": (
        "list.json",
        b"""[{"customer": "acme", "key": [{"name": "A"}]},
{"customer": "nobody", "key": [{"name": "B"}, {"name": "C"}]}]""",
        b"""[
{"error":"Row 2: %s Row 3: %s","customer":"nobody","key":[{"name": "B"}, {"name": "C"}]}
]
""",
    ),
    "lists of values": (
        "list.json",
        b'[["customer", "name"], ["acme", "A"], ["nobody", "B"]]',
        b'[\n["error","customer","name"],\n["Row 3: %s","nobody","B"]\n]\n',
    ),
    "a list deep inside an object": (
        "list.json",
        (
            b'{"data": {"keys": [{"customer": "acme", "name": "A"},'
            b' {"customer": "nobody", "name": "B"}]}}'
        ),
        b'[\n{"error":"Row 2: %s","customer":"nobody","name":"B"}\n]\n',
    ),
    "YAML": (
        "list.yaml",
        b"keys:\n- {customer: acme, name: A}\n- customer: nobody\n  name: '012'\n",
        b"keys:\n- error: 'Row 2: %s'\n  customer: nobody\n  name: '012'\n",
    ),
    "documents of YAML": (
        "list.yaml",
        b"customer: acme\nname: A\n---\ncustomer: nobody\nname: B\n",
        b"---\nerror: 'Row 2: %s'\ncustomer: nobody\nname: B\n",
    ),
    "a table of Markdown": (
        "list.md",
        b"# Keys\n\n| customer | name |\r\n|---|:--|\r\n| acme | A |\r\n| nobody | B\\|C |\r\n",
        (
            b"# Keys\n\n| error | customer | name |\r\n|---|---|:--|\r\n"
            b"| Row 6: %s | nobody | B\\|C |\r\n"
        ),
    ),
    "a table of psql": (
        "list.txt",
        b" customer | name\n----------+------\n acme     | A\n nobody   | B\n(2 rows)\n",
        b" error | customer | name\n---+----------+------\n Row 4: %s | nobody   | B\n",
    ),
    "a table of mysql": (
        "list.txt",
        b"+---+---+\n| customer | name |\n+---+---+\n| acme | A |\n| nobody | B |\n+---+---+\n",
        b"+---+---+\n| error | customer | name |\n+---+---+---+\n| Row 5: %s | nobody | B |\n",
    ),
    "lines in quotes, which go": (
        "list.csv",
        b'"customer;name"\r\n"acme;A"\r\n"nobody;B"\r\n',
        b'error;customer;name\r\n"Row 3: %s";nobody;B\r\n',
    ),
    "Windows-1252 between carets": (
        "list.csv",
        "customer^name\nacme^A\nnobody^Bäh\n".encode("windows-1252"),
        lambda reason: f'error^customer^name\n"Row 3: {reason}"^nobody^Bäh\n'.encode(
            "windows-1252"
        ),
    ),
    "consumers of Kong, of which two rows are one": (
        "kong.yaml",
        b"consumers:\n- username: acme\n  keyauth_credentials: [{key: key-number-01}]\n- %b"
        % CONSUMER_OF_TWO,
        b"consumers:\n- error: 'Row 2: %s Row 3: %s'\n  " + CONSUMER_OF_TWO,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rejected_rows_come_back_as_they_were_and_are_taken_again(brought, shape):
    factories.a_customer("Acme")
    name, content, expected = SHAPES[shape]
    encodings = {"UTF-16": "utf-16", "Windows-1252": "windows-1252"}
    encoding = next((each for name, each in encodings.items() if name in shape), None)
    upload = brought(content, name, encoding=encoding)
    assert upload.state == Upload.State.READY, upload.error
    assert upload.preview["counts"]["create"] == 1

    file = rejected_of(upload)

    if callable(expected):
        expected = expected(UNKNOWN)
    else:
        expected = expected.replace(b"%s", UNKNOWN.encode())
        if name.endswith("yaml"):  # folded as YAML folds lines
            file, expected = b" ".join(file.split()), b" ".join(expected.split())
    assert file == expected
    factories.a_customer("Nobody")
    again = brought(rejected_of(upload), actions.rejected_file_of(upload=upload).name, like=upload)
    counts = again.preview["counts"]
    assert (counts["create"], counts["rejected"]) == (upload.preview["counts"]["rejected"], 0)
    assert again.header == upload.header


def test_a_workbook_comes_back_with_text_cells(brought, tmp_path):
    factories.a_customer("Acme")
    path = tmp_path / "list.xlsx"
    with Workbook(path) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(1, 0, ["customer", "name", "key"])
        sheet.write_row(2, 0, ["acme", "A", "key-number-01"])
        sheet.write_string(3, 0, "nobody")
        sheet.write_string(3, 1, "0012")
        sheet.write_number(3, 2, 1234567)
        sheet.write_row(4, 0, ["acme", "C"])
        sheet.write_number(4, 2, 1234567890123456789)
    upload = brought(path.read_bytes(), "list.xlsx")

    file = tmp_path / "rejected.xlsx"
    file.write_bytes(rejected_of(upload))

    with open_list(file, name="rejected.xlsx") as read:
        assert dict(read.rows) == {
            3: ["nobody", "0012", "1234567"],
            4: ["acme", "C", "1.23456789012346E+18"],
        }
        assert read.header == ["customer", "name", "key"]


# Rows that the reader itself could not take: what stands in the file, and in the file of rejected.
UNREAD = {
    "a cell too many": (
        "list.csv",
        b"customer,name\nacme,A,more\n",
        b'error,customer,name\n"Row 2: It has 3 cells, the header 2.",acme,A,more\n',
    ),
    "a quote in the middle": (
        "list.csv",
        b'customer,name\nacme,"A"B\n',
        b'error,customer,name\n"Row 2: A quote stands in the middle of a cell.",acme,"A"B\n',
    ),
    "a line that is no JSON": (
        "list.jsonl",
        b'{"customer": "acme", "name": "A"}\n{"customer": "acme", \n["acme"]\n',
        b"""{"error":"Row 2: This is not JSON."}\n{"customer": "acme",
{"error":"Row 3: This is not an object."}\n["acme"]\n""",
    ),
}


@pytest.mark.parametrize("fault", UNREAD)
def test_rows_that_could_not_be_read_come_back_with_the_one_reason(brought, fault):
    name, content, expected = UNREAD[fault]
    factories.a_customer("Acme")

    upload = brought(content, name)

    assert rejected_of(upload) == expected
    # Nothing has been corrected: the same row comes back, and its error has been replaced.
    again = brought(rejected_of(upload), name, like=upload)
    if name.endswith("csv"):
        assert rejected_of(again).partition(b'",')[2] == expected.partition(b'",')[2]
        assert rejected_of(again).count(b"Row 2") == 1
    else:
        assert (again.state, again.error) == (Upload.State.FAILED, "No object can be read.")


def test_each_fault_is_told_once_and_truly(brought):
    factories.a_customer("Acme")
    content = (
        b"customer,name,key,expires_at,subscription\n"
        b",A,key-number-01,,sub\n"  # no customer: whose subscription it is is not the matter
        b"nobody,,key-number-02,tomorrow,\n"
    )

    upload = brought(content, "list.csv", choices=actions.UploadChoices())

    told = [
        (each.row, each.column, each.message) for each in actions.list_row_problems(upload=upload)
    ]
    assert told == [
        (2, "customer", "A value is required."),
        (2, "subscription", "No subscription has this external key."),
        (3, "name", "A value is required."),
        (3, "expires_at", "This is not a date or time. Write 2027-12-31 or 2027-12-31T23:59:00Z."),
        (3, "customer", "No customer has this external key."),
    ]
    assert {message for _, message, _ in upload.preview["reasons"]} == {
        message for _, _, message in told
    }


def test_corrected_rows_are_checked_once_with_the_columns_and_choices_of_the_list(brought):
    factories.a_customer("Acme")
    fixed = {"environment": "production"}
    upload = brought(b"Client,What,Stage\nacme,A,x\nacme,,y\n", "list.csv", fixed_values=fixed)
    actions.recheck_upload(
        upload=upload,
        by=None,
        mapping={0: "customer", 1: "name"},
        choices=actions.UploadChoices(customers="create", missing_keys="generate"),
    )
    worked(upload)

    corrected = rejected_of(upload).replace(b",acme,,y", b",other,B,y")
    again = brought(corrected, "list-rejected.csv", like=upload)

    assert again.state == Upload.State.READY
    assert again.mapping == {"0": "customer", "1": "name"}
    assert (again.fixed_values, again.choices) == (fixed, upload.choices)
    assert again.preview["also_creates"]["customers"] == 1
    # Another header makes the mapping void, whatever its positions.
    other = brought(b"name\nA\n", "other.csv", like=upload)
    assert other.state == Upload.State.UNMAPPED
    assert other.mapping == {"0": "name"}


def test_a_reason_that_the_encoding_cannot_hold_is_written_without(tmp_path):
    path = tmp_path / "list"
    path.write_bytes("customer,name\nacme,B\xe4h\n".encode("windows-1252"))
    to = BytesIO()

    with open_list(path, name="list.csv", encoding="windows-1252") as read:
        read.copier.copy_rows(to, ("→ “so”" for _ in read.rows))

    assert to.getvalue() == 'error,customer,name\n"? “so”",acme,Bäh\n'.encode("windows-1252")
