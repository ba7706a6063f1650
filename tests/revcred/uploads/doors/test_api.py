"""Lists by script, with the worker's part done in between."""

import json
from hashlib import sha256
from io import BytesIO
from urllib.parse import quote

import msgspec
import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from metering.models import Claim, Transaction
from revcred.actions import tokens
from revcred.models import AuditEvent, Credential, Customer, Upload, UserToken
from revcred.uploads.doors import api as doors
from revcred.uploads.doors.bodies import RowErrorsBody, UploadBody, UploadsBody
from revcred.uploads.worker import process_waiting_uploads
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-orders-1a2b"
SECRET = "the-secret-of-orders"
ROW = {"customer": "acme", "name": "Orders", "key": KEY, "secret": SECRET}
BAD = {"customer": "nobody", "name": "Bills", "key": "the-key-of-bills-3c4d"}
NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture(autouse=True)
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def user():
    return factories.a_user("ops@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def token(user):
    return tokens.issue_user_token(
        user=user, name="A script", scopes=UserToken.Scope.values, by=user
    )[1]


@pytest.fixture
def ask(client, token):
    """An answer: `ask("GET", "/7")`, `ask("POST", "/7/apply", {"rows": "good"})`."""

    def ask(method, path="", body=None, *, authorization=f"Bearer {token}", **extra):
        if isinstance(body, dict):
            extra |= {"data": json.dumps(body), "content_type": "application/json"}
        elif body is not None:
            extra |= {"data": body}
        headers = {"authorization": authorization}
        return client.generic(method, f"/v1/uploads{path}", headers=headers, **extra)

    return ask


@pytest.fixture
def posted(ask):
    """An upload that was posted as JSON Lines, and checked."""

    def post(*rows, query=""):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        answer = ask("POST", query, lines, content_type=NDJSON)
        assert answer.status_code == 202, answer.content
        process_waiting_uploads()
        return Upload.objects.get(pk=answer.json()["id"])

    return post


def refusal(answer):
    return answer.status_code, answer.json()["code"]


# --- From the file to the end ---------------------------------------------------------------------


def test_a_list_is_checked_applied_and_undone(ask, posted, user):
    upload = posted(ROW, BAD)

    ready = ask("GET", f"/{upload.pk}").json()
    assert ready["state"] == "ready"
    assert ready["rows"] == 2
    assert ready["preview"]["counts"] == {
        "create": 1,
        "update": 0,
        "move": 0,
        "unchanged": 0,
        "rejected": 1,
    }
    values = ready["preview"]["examples"]["create"][0]["values"]
    assert {"column": "key", "old": None, "new": "…1a2b"} in values
    assert {"column": "secret", "old": None, "new": True} in values
    assert not Credential.objects.exists()

    assert ask("POST", f"/{upload.pk}/apply", {"rows": "good"}).json()["state"] == "applying"
    process_waiting_uploads()
    applied = ask("GET", f"/{upload.pk}").json()
    assert (applied["state"], applied["outcome"]["create"]) == ("applied", 1)
    assert applied["applied_by"] == "ops@example.com"
    assert Credential.objects.get().name == "Orders"
    assert AuditEvent.objects.about(upload).first().actor == user.email

    assert ask("POST", f"/{upload.pk}/undo").json()["state"] == "undoing"
    process_waiting_uploads()
    assert ask("GET", f"/{upload.pk}").json()["state"] == "undone"
    assert not Credential.objects.exists()


def test_a_form_with_a_file_is_the_same(client, token):
    file = SimpleUploadedFile("keys.csv", f"customer,name,key\nglobex,Orders,{KEY}\n".encode())
    said = {"file": file, "kind": "credentials", "customers": "create"}

    answer = client.post("/v1/uploads", said, headers={"authorization": f"Bearer {token}"})

    assert answer.status_code == 202
    assert answer.json()["name"] == "keys.csv"
    assert answer["Location"] == f"/v1/uploads/{answer.json()['id']}"
    process_waiting_uploads()
    assert Upload.objects.get().preview["also_creates"]["customers"] == 1


def test_other_kinds_and_choices_are_said_in_the_address(ask):
    body = "external_key,name\nglobex,Globex\n"
    answer = ask("POST", "?kind=customers&name=all.csv", body, content_type="text/csv")
    upload = Upload.objects.get(pk=answer.json()["id"])
    process_waiting_uploads()
    ask("POST", f"/{upload.pk}/apply", {"rows": "all"})
    process_waiting_uploads()

    upload.refresh_from_db()
    assert (upload.file_name, upload.all_or_nothing) == ("all.csv", True)
    assert Customer.objects.filter(external_key="globex").exists()


def test_progress_is_told_while_it_is_under_way(ask):
    answer = ask("POST", "", json.dumps(ROW), content_type=NDJSON).json()

    assert answer["state"] == "checking"
    assert answer["progress"]["done"] == 0
    assert answer["preview"] is None


def test_columns_and_choices_are_corrected(ask, posted):
    upload = posted({"whose": "globex", "name": "Orders", "string": KEY})
    assert upload.state == Upload.State.UNMAPPED

    said = {
        "columns": {"whose": "customer", "string": "key"},
        "choices": {"customers": "create"},
    }
    assert ask("POST", f"/{upload.pk}/check", said).status_code == 202
    process_waiting_uploads()

    answer = ask("GET", f"/{upload.pk}").json()
    assert answer["preview"]["counts"]["create"] == 1
    assert {"header": "string", "column": "key"} in answer["columns"]
    ask("POST", f"/{upload.pk}/check", {"columns": {"string": None}})
    process_waiting_uploads()
    assert {"header": "string", "column": None} in ask("GET", f"/{upload.pk}").json()["columns"]


def test_errors_are_asked_for_a_part_at_a_time(ask, posted):
    upload = posted(*(BAD | {"customer": f"nobody-{n}", "key": f"{KEY}-{n}"} for n in range(3)))

    first = ask("GET", f"/{upload.pk}/errors?most=2").json()
    rest = ask("GET", f"/{upload.pk}/errors?most=2&after={first['after']}").json()

    assert [each["row"] for each in first["errors"] + rest["errors"]] == [1, 2, 3]
    assert first["errors"][0] == {
        "row": 1,
        "column": "customer",
        "hint": "nobody-0",
        "message": "No customer has this external key.",
    }
    assert rest["after"] is None


def test_corrected_rows_are_sent_with_the_settings_of_their_list(ask, posted):
    upload = posted(ROW, BAD, query="?customers=create&fixed_values={%22environment%22:%22eu%22}")
    again = posted(ROW, query=f"?like={upload.pk}")

    assert (again.choices, again.fixed_values) == (upload.choices, {"environment": "eu"})
    for query, refused in {
        "?like=0": (400, "malformed"),
        f"?like={upload.pk + 100}": (404, "not_found"),
        f"?like={upload.pk}&subscribers=create": (400, "malformed"),
    }.items():
        answer = ask("POST", query, json.dumps(ROW), content_type=NDJSON)
        assert refusal(answer) == refused, query


def test_the_refused_rows_come_back_to_who_sent_them(ask, posted, client):
    upload = posted(ROW, BAD)

    answer = ask("GET", f"/{upload.pk}/rejected")
    row = json.loads(b"".join(answer.streaming_content))
    assert row["key"] == BAD["key"]
    assert "has this external key" in row["error"]
    assert answer["Cache-Control"] == "no-store"

    other = factories.a_user(is_staff=True, is_superuser=True)
    _, token = tokens.issue_user_token(
        user=other, name="x", scopes=UserToken.Scope.values, by=other
    )
    answer = ask("GET", f"/{upload.pk}/rejected", authorization=f"Bearer {token}")
    assert refusal(answer) == (404, "not_found")


def test_no_answer_holds_a_key_or_a_secret(ask, posted):
    upload = posted(ROW, BAD)

    for path in ("", f"/{upload.pk}", f"/{upload.pk}/errors"):
        text = ask("GET", path).content.decode()
        assert KEY not in text
        assert SECRET not in text
        assert BAD["key"] not in text


# --- A list that was cut off ---


CSV_LIST = "customer,name,key\nacme,One,key-number-01\nacme,Two,key-number-02\n"


@pytest.fixture
def send(ask):
    """Send a list of which only the beginning may arrive."""

    def send(arrived, query="", **said):
        arrives = {"wsgi.input": BytesIO(arrived.encode())} | said
        return ask("POST", query, "in place of it", content_type="text/csv", **arrives)

    return send


def test_a_list_that_was_cut_off_is_not_taken(send):
    whole = {"CONTENT_LENGTH": str(len(CSV_LIST))}

    assert refusal(send(CSV_LIST[:-9], **whole)) == (400, "cut_off")
    assert not Upload.objects.exists()
    assert send(CSV_LIST, **whole).status_code == 202


def test_a_list_in_chunks_needs_its_digest(send):
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
    with_digest = f"?sha256={sha256(CSV_LIST.encode()).hexdigest()}"

    assert refusal(send(CSV_LIST, **chunked)) == (400, "length_required")
    assert refusal(send(CSV_LIST[:-9], with_digest, **chunked)) == (400, "cut_off")
    assert send(CSV_LIST, with_digest, **chunked).status_code == 202


@pytest.mark.parametrize(
    ("digest", "status"),
    [
        (sha256(CSV_LIST.encode()).hexdigest(), 202),
        (sha256(CSV_LIST.encode()).hexdigest().upper(), 202),
        (sha256(b"another").hexdigest(), 400),
        ("", 202),
        ("abc", 400),
    ],
)
def test_a_list_with_its_digest(ask, digest, status):
    answer = ask("POST", f"?sha256={digest}", CSV_LIST, content_type="text/csv")

    assert answer.status_code == status
    assert Upload.objects.count() == (status == 202)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "body", "content_type", "expected"),
    [
        ("", "{}", "text/plain", (415, "unknown_type")),
        ("?kind=cats", "{}", NDJSON, (400, "malformed")),
        ("?customers=maybe", "{}", NDJSON, (400, "malformed")),
        ("?cats=1", "{}", NDJSON, (400, "malformed")),
    ],
)
def test_a_post_that_is_none(ask, query, body, content_type, expected):
    assert refusal(ask("POST", query, body, content_type=content_type)) == expected
    assert not Upload.objects.exists()


def test_a_form_without_a_file(client, token):
    answer = client.post(
        "/v1/uploads", {"kind": "credentials"}, headers={"authorization": f"Bearer {token}"}
    )

    assert answer.json() == {"code": "malformed", "message": "Send the file in the field 'file'."}


def test_a_body_that_is_too_large_is_rejected_before_it_is_read(ask, monkeypatch):
    monkeypatch.setattr(doors, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(doors, "MAX_FORM_OVERHEAD_BYTES", 10)

    answer = ask("POST", "", json.dumps(ROW), content_type=NDJSON)

    assert refusal(answer) == (413, "too_large")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("apply", {"rows": "all"}, (409, "some_rejected")),
        ("apply", {"rows": "some"}, (400, "malformed")),
        ("apply", {}, (400, "malformed")),
        ("undo", None, (409, "not_now")),
        ("check", {"columns": {"cats": "key"}}, (400, "malformed")),
        ("check", {"columns": {"name": "cats"}}, (400, "malformed")),
        ("check", {"columns": {"name": None}}, (400, "columns_missing")),
        ("check", {"cats": 1}, (400, "malformed")),
    ],
)
def test_an_act_that_cannot_be(ask, posted, path, body, expected):
    upload = posted(ROW, BAD)

    assert refusal(ask("POST", f"/{upload.pk}/{path}", body)) == expected


def test_a_list_that_changes_nothing_is_not_applied(ask, posted):
    upload = posted(BAD)

    answer = ask("POST", f"/{upload.pk}/apply", {"rows": "good"})

    assert refusal(answer) == (409, "nothing_to_apply")


def test_applying_the_same_list_again_is_a_success(ask, posted):
    for _ in range(2):
        upload = posted(ROW)
        assert ask("POST", f"/{upload.pk}/apply", {"rows": "all"}).status_code == 202
        process_waiting_uploads()
        assert ask("GET", f"/{upload.pk}").json()["state"] == "applied"

    assert Credential.objects.count() == 1
    assert Claim.objects.count() == 1


def test_uploads_are_listed_page_by_page(ask, posted):
    numbers = [posted(ROW).pk for _ in range(3)]

    first = ask("GET", "?most=2").json()
    rest = ask("GET", f"?most=2&before={first['before']}").json()

    assert [each["id"] for each in first["uploads"] + rest["uploads"]] == numbers[::-1]
    assert rest["before"] is None
    assert refusal(ask("GET", "?most=0")) == (400, "malformed")


def test_what_something_depends_on_is_named(ask, posted, user):
    from revcred.actions import credentials

    upload = posted(ROW)
    ask("POST", f"/{upload.pk}/apply", {"rows": "good"})
    process_waiting_uploads()
    credentials.suspend_credential(credential=Credential.objects.get(), by=user)

    assert ask("POST", f"/{upload.pk}/undo").status_code == 202
    process_waiting_uploads()

    reason = {"reason": "Somebody has changed it since", "count": 1, "first": ["Orders"]}
    told = ask("GET", f"/{upload.pk}").json()
    assert told["state"] == "applied"
    assert (told["undo"]["changes"], told["undo"]["left"]) == (1, 1)
    assert told["undo"]["obstacles"] == [reason]

    assert ask("POST", f"/{upload.pk}/undo", {"keep_depended": True}).status_code == 202
    process_waiting_uploads()
    told = ask("GET", f"/{upload.pk}").json()
    assert (told["state"], told["undo"]["kept"]) == ("undone", [reason])


def test_an_upload_is_given_up(ask, posted):
    upload = posted(ROW)

    assert ask("POST", f"/{upload.pk}/cancel").json()["state"] == "cancelled"
    assert refusal(ask("POST", f"/{upload.pk}/cancel")) == (409, "not_now")


@pytest.mark.parametrize("path", ["/999", "/999/errors", "/99999999999999999999/errors"])
def test_what_is_not_there(ask, path):
    assert refusal(ask("GET", path)) == (404, "not_found")


# --- Who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic x", "Bearer rvu_nothing"])
def test_without_a_token_nothing_is_said(ask, authorization):
    answer = ask("GET", authorization=authorization)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="revcred"'


@pytest.mark.parametrize(
    "lost", [{"is_active": False}, {"is_staff": False}, {"is_superuser": False}]
)
def test_a_token_is_worth_as_much_as_its_user(ask, user, lost):
    for name, value in lost.items():
        setattr(user, name, value)
    user.save()

    assert ask("GET").status_code in (401, 403)


def test_a_revoked_token_is_worth_nothing(ask, user):
    tokens.revoke_user_token(token=UserToken.objects.get(), by=user)

    assert refusal(ask("GET")) == (401, "unknown_token")
    assert UserToken.objects.get().last_used_at is None


@pytest.mark.parametrize(
    ("scope", "right"),
    [("uploads:check", "apply_upload"), ("uploads:apply", "add_upload")],
)
def test_a_scope_and_a_right_are_both_needed(ask, posted, scope, right):
    upload = posted(ROW)
    scoped = factories.a_user(is_staff=True, is_superuser=True)
    _, of_one_scope = tokens.issue_user_token(user=scoped, name="x", scopes=[scope], by=scoped)
    limited = factories.a_user(is_staff=True)
    limited.user_permissions.set(Permission.objects.filter(codename=right))
    _, of_one_right = tokens.issue_user_token(
        user=limited, name="x", scopes=UserToken.Scope.values, by=limited
    )

    def statuses(token):
        authorization = f"Bearer {token}"
        see = ask("GET", f"/{upload.pk}", authorization=authorization)
        apply = ask("POST", f"/{upload.pk}/apply", {}, authorization=authorization)
        return see.status_code, apply.status_code

    may_check, may_apply = (200, 403), (403, 400)
    assert statuses(of_one_scope) == (may_check if scope == "uploads:check" else may_apply)
    assert statuses(of_one_right) == (may_apply if right == "apply_upload" else may_check)


def test_who_may_not_apply_may_not_stop_it(ask, posted):
    upload = posted(ROW)
    ask("POST", f"/{upload.pk}/apply", {"rows": "good"})
    user = factories.a_user(is_staff=True, is_superuser=True)
    _, token = tokens.issue_user_token(user=user, name="x", scopes=["uploads:check"], by=user)

    answer = ask("POST", f"/{upload.pk}/cancel", authorization=f"Bearer {token}")

    assert refusal(answer) == (403, "not_allowed")


def test_the_use_of_a_token_is_stamped(ask):
    before = timezone.now()
    ask("GET")

    assert UserToken.objects.get().last_used_at >= before


def test_answers_are_of_the_types_that_document_them(ask, posted):
    upload = posted(ROW, BAD)
    answers = [
        (ask("GET"), UploadsBody),
        (ask("GET", f"/{upload.pk}"), UploadBody),
        (ask("GET", f"/{upload.pk}/errors"), RowErrorsBody),
        (ask("POST", f"/{upload.pk}/apply", {"rows": "good"}), UploadBody),
    ]
    process_waiting_uploads()
    answers.append((ask("GET", f"/{upload.pk}"), UploadBody))

    for answer, kind in answers:
        decoded = msgspec.json.decode(answer.content, type=kind)
        assert json.loads(msgspec.json.encode(decoded)) == answer.json()


def test_it_is_documented(client):
    document = client.get("/v1/openapi.json").json()

    documented = {path for path in document["paths"] if path.startswith("/v1/uploads")}
    assert documented == {
        "/v1/uploads",
        *(
            f"/v1/uploads/{{number}}{rest}"
            for rest in ("", "/errors", "/rejected", "/check", "/apply", "/cancel", "/undo")
        ),
    }
    form = document["paths"]["/v1/uploads"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", NDJSON} <= form.keys()


def test_what_every_row_has_is_said_beside_the_file(ask, posted):
    row = {"name": "Orders", "key": KEY}
    upload = posted(row, query=f"?fixed_values={quote(json.dumps({'customer': 'acme'}))}")
    path = f"/{upload.pk}"

    ready = ask("GET", path).json()
    assert (ready["state"], ready["fixed_values"]) == ("ready", {"customer": "acme"})
    ask("POST", f"{path}/check", {"fixed_values": {"customer": "acme", "tags": "x|y"}})
    process_waiting_uploads()
    values = ask("GET", path).json()["preview"]["examples"]["create"][0]["values"]
    assert {"column": "tags", "old": None, "new": ["x", "y"]} in values
    ask("POST", f"{path}/check", {"fixed_values": {}})
    process_waiting_uploads()
    assert ask("GET", path).json()["state"] == "unmapped"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("acme", "`fixed_values` must be a JSON object"),
        ("[1]", "`fixed_values` must be a JSON object"),
        ('{"key": "the-same"}', "`fixed_values`: “key” is not one of"),
        ('{"expires_at": "soon"}', "`fixed_values`: expires_at: This is not a date"),
        ('{"customer": "ac\\u0000me"}', "`fixed_values`: customer: It contains U+0000"),
    ],
)
def test_what_no_row_can_have(ask, said, reason):
    response = ask("POST", f"?fixed_values={quote(said)}", json.dumps(ROW), content_type=NDJSON)

    assert response.status_code == 400
    assert reason in response.json()["message"]


# --- Rights, and people of other customers -------------------------------------------------------


def test_a_token_does_what_its_user_may_and_reads_first_what_not(ask, posted, user):
    upload = posted(ROW | {"holders": "ada@example.com"}, query="?subscribers=create")
    user.is_superuser = False
    user.save()
    names = ["add_upload", "apply_upload", "add_credential", "add_subscriber"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))

    [lacking] = ask("GET", f"/{upload.pk}").json()["preview"]["lacking"]
    assert (lacking["effect"], lacking["rights"], lacking["rows"]) == (
        "join",
        ["add_membership"],
        1,
    )
    assert "Add memberships" in lacking["message"]

    answer = ask("POST", f"/{upload.pk}/apply", {"rows": "good"})
    assert refusal(answer) == (403, "rights_missing")
    assert "Add memberships" in answer.json()["message"]
    process_waiting_uploads()
    assert not Credential.objects.exists()


def test_people_of_other_customers_are_named_and_joined_by_choice(ask, posted):
    globex = factories.a_customer("Globex")
    factories.a_subscriber(globex, email="ada@elsewhere.example.org")
    row = ROW | {"holders": "ada@elsewhere.example.org"}

    upload = posted(row)
    preview = ask("GET", f"/{upload.pk}").json()["preview"]
    assert preview["counts"]["rejected"] == 1
    assert preview["members"] == {
        "count": 1,
        "of_others": 1,
        "people": [
            {
                "email": "ada@elsewhere.example.org",
                "domain": "elsewhere.example.org",
                "customer": "Acme",
                "role": "member",
                "rows": 1,
                "is_rejected": True,
                "is_of_another": True,
                "belongs_to": ["Globex"],
            }
        ],
    }
    answer = ask("POST", f"/{upload.pk}/check", {"choices": {"people_of_others": "join"}})
    assert answer.status_code == 202
    process_waiting_uploads()
    assert ask("GET", f"/{upload.pk}").json()["preview"]["counts"]["create"] == 1


def test_a_list_of_usage_says_whose_calls_it_brings_and_takes_them_back(ask, acme):
    factories.a_gateway("edge")
    maps = factories.a_subscription(acme, external_key="maps")
    factories.a_credential(acme, KEY, name="Orders", subscriptions=[maps])
    now = timezone.now()
    body = f"transaction_id,occurred_at,gateway,key,calls\none,{now.isoformat()},edge,{KEY},7\n"
    number = ask("POST", "?kind=usage&name=calls.csv", body, content_type="text/csv").json()["id"]
    process_waiting_uploads()

    answer = ask("GET", f"/{number}")

    msgspec.convert(answer.json(), UploadBody)
    preview = answer.json()["preview"]
    assert (preview["moves"], preview["calls"]) == (
        None,
        {
            "rows": 1,
            "waiting": 0,
            "months": [
                {
                    "customer": "Acme",
                    "reason": None,
                    "month": f"{now:%Y-%m}",
                    "rows": 1,
                    "calls": 7,
                }
            ],
            "more": 0,
        },
    )
    assert KEY not in answer.text
    ask("POST", f"/{number}/apply", {"rows": "all"})
    process_waiting_uploads()
    ask("POST", f"/{number}/undo", {})
    process_waiting_uploads()
    assert ask("GET", f"/{number}").json()["state"] == "undone"
    assert sorted(Transaction.objects.values_list("sign", flat=True)) == [-1, 1]
