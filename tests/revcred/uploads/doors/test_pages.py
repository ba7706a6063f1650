"""An upload's pages, with the worker's part done in between."""

from io import BytesIO

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import reverse

from revcred.list_files import ListFormat
from revcred.models import Credential, Customer, Subscriber, Subscription, Upload, User
from revcred.uploads import actions
from revcred.uploads.columns import ListKind, columns_of
from revcred.uploads.doors import pages
from revcred.uploads.reading import open_list
from revcred.uploads.staging import staging_table
from revcred.uploads.worker import process_waiting_uploads
from tests import confirming, factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-orders-1a2b"
OTHER_KEY = "the-key-of-bills-3c4d"
SECRET = "the-secret-of-orders"
LIST = (
    "customer,name,key,secret,holders\n"
    f"acme,Orders,{KEY},{SECRET},\n"
    f"acme,Bills,{OTHER_KEY},,nobody\n"
    "globex,Orders,a-key-of-globex-5e6f,,\n"
)


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def bring(admin_client, acme):
    """The upload of a file that was sent with the page's form, as the worker has checked it."""

    def bring(text=LIST, *, kind=ListKind.CREDENTIALS, name="keys.csv", **said):
        file = SimpleUploadedFile(name, text.encode() if isinstance(text, str) else text)
        response = admin_client.post(
            f"{reverse('admin:revcred_upload_add')}?kind={kind}", said | {"file": file}
        )
        upload = Upload.objects.first()
        assert response["Location"] == to("change", upload)
        return worked(upload)

    return bring


def worked(upload):
    process_waiting_uploads()
    upload.refresh_from_db()
    return upload


def to(name, upload):
    return reverse(f"admin:revcred_upload_{name}", args=[upload.pk])


def text_of(response):
    assert response.status_code == 200
    return b"".join(response) if response.streaming else response.content.decode()


def staff(*rights):
    user = factories.a_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return User.objects.get(pk=user.pk)


AWS = "Enabled,Name,key,UsageplanIds\ntrue,Orders,aws-key-of-orders-1a2b,maps\n"


def test_what_a_file_does_not_say_is_said_for_every_row(bring, admin_client, acme):
    """The keys of AWS name no customer, and are all of one."""
    factories.a_subscription(acme, external_key="maps")
    upload = bring(AWS)
    assert upload.state == Upload.State.UNMAPPED
    page = text_of(admin_client.get(to("change", upload)))
    assert "<details open>" in page
    mapped = {f"column_{at}": name for at, name in upload.mapping.items()}

    said = mapped | {"all_customer": "acme", "all_expires_at": "03/04/2029"}
    refused = text_of(admin_client.post(to("columns", upload), said))
    assert "This can be read two ways." in refused
    said |= {"all_expires_at": "2029-12-31", "all_plan": "maps"}
    refused = text_of(admin_client.post(to("columns", upload), said))
    assert "A column of the file has this value." in refused
    admin_client.post(to("columns", upload), said | {"all_plan": ""})

    page = text_of(admin_client.get(to("change", worked(upload))))
    assert "Customer <code>acme</code>" in page
    assert "Unknown customers" in page
    admin_client.post(to("apply", upload), {"rows": "good"})
    worked(upload)
    credential = Credential.objects.get()
    assert (credential.customer, credential.expires_at.year) == (acme, 2029)
    assert credential.assignments.get().subscription.external_key == "maps"


# --- From the file to the end ---------------------------------------------------------------------


def test_the_page_explains_each_column_and_offers_lists(admin_client):
    page = text_of(admin_client.get(f"{reverse('admin:revcred_upload_add')}?kind=subscriptions"))

    for column in ("external_key", "customer", "product", "active_until", "quota"):
        assert f"<code>{column}</code>" in page
    assert "subscriptions-template.xlsx" in page
    assert "subscriptions-example.jsonl" in page


@pytest.mark.parametrize("kind", [*ListKind])
@pytest.mark.parametrize("form", [*ListFormat])
@pytest.mark.parametrize("what", ["template", "example"])
def test_the_lists_offered_can_be_read(admin_client, tmp_path, kind, form, what):
    response = admin_client.get(reverse("admin:revcred_upload_list", args=[kind, what, form]))

    file = tmp_path / "list"
    file.write_bytes(text_of(response))
    assert f'filename="{kind}-{what}.{form}"' in response["Content-Disposition"]
    with open_list(file, name=f"list.{form}") as read:
        assert bool([*read.rows]) == (what == "example")
        assert read.header == [column.name for column in columns_of(ListKind(kind))]


@pytest.mark.parametrize("path", ["cats-template.csv", "customers-cats.csv", "customers-example.x"])
def test_other_lists_are_not_offered(admin_client, path):
    url = reverse("admin:revcred_upload_changelist") + f"lists/{path}"

    assert admin_client.get(url).status_code == 404


def test_a_list_is_previewed_applied_and_undone(admin_client, bring):
    upload = bring()

    preview = text_of(admin_client.get(to("change", upload)))
    assert "Without rejected rows" in preview
    assert "No customer has this external key." in preview
    assert "This is not an e-mail address." in preview
    assert not Credential.objects.exists()

    assert admin_client.post(to("apply", upload), {"which": "good"}).status_code == 302
    worked(upload)

    assert upload.state == Upload.State.APPLIED
    assert upload.applied_by.email == "admin@example.com"
    assert Credential.objects.get().name == "Orders"
    done = text_of(admin_client.get(to("change", upload)))
    assert "This upload was applied" in done
    assert "Undo" in done

    assert "Check what undoing does" in text_of(admin_client.get(to("undo", upload)))
    undo_with(admin_client, upload)

    assert upload.state == Upload.State.UNDONE
    assert not Credential.objects.exists()
    assert "This upload was undone" in text_of(admin_client.get(to("change", upload)))


def test_no_page_shows_a_key_or_a_secret(admin_client, bring):
    upload = bring()
    pages = [to(name, upload) for name in ("change", "columns", "problems", "history")]
    pages.append(reverse("admin:revcred_upload_changelist"))

    for url in pages:
        page = text_of(admin_client.get(url))
        assert KEY not in page
        assert OTHER_KEY not in page
        assert SECRET not in page
    assert f"…{KEY[-4:]}" in text_of(admin_client.get(pages[0]))


def test_unknown_things_are_created_if_that_is_chosen(admin_client, bring):
    upload = bring()

    admin_client.post(
        to("choices", upload),
        {"customers": "create", "subscribers": "create", "keys_of_others": "reject"},
    )
    worked(upload)

    assert upload.preview["also_creates"]["customers"] == 1
    assert "<strong>1 customer</strong>" in text_of(admin_client.get(to("change", upload)))
    admin_client.post(to("apply", upload), {"which": "good"})
    worked(upload)
    assert Customer.objects.filter(external_key="globex").exists()


def test_subscriptions_are_created_of_a_product(admin_client, bring, acme):
    factories.a_product("Maps")
    upload = bring("customer,name,subscription\nacme,Orders,acme-maps\n")
    said = {"customers": "reject", "subscriptions": "create", "missing_keys": "generate"}

    page = text_of(admin_client.post(to("choices", upload), said))
    assert "Choose the product of new subscriptions." in page

    admin_client.post(to("choices", upload), said | {"product": "maps"})
    assert worked(upload).preview["counts"]["create"] == 1


def test_columns_that_are_not_told_are_asked_for_and_remembered(admin_client, bring):
    text = f"whose,what it is,string\nacme,Orders,{KEY}\n"
    upload = bring(text)

    assert upload.state == Upload.State.UNMAPPED
    page = text_of(admin_client.get(to("change", upload)))
    assert "Some required columns were not recognised." in page
    assert "Orders" in page
    assert KEY not in page  # of what may be a key, only the end
    assert "1 different value" in page

    mapped = {"column_0": "customer", "column_1": "name", "column_2": "key"}
    assert admin_client.post(to("columns", upload), mapped).status_code == 302
    assert worked(upload).preview["counts"]["create"] == 1
    assert bring(text).state == Upload.State.READY


@pytest.mark.parametrize(
    ("mapped", "problem"),
    [
        ({"column_0": "customer"}, "needs a column for: Name."),
        ({"column_0": "name", "column_1": "name"}, "Another column is Name, too."),
        ({"column_0": "cats"}, "not one of the available choices"),
    ],
)
def test_a_mapping_that_cannot_be_is_rejected_with_its_reason(admin_client, bring, mapped, problem):
    upload = bring()

    assert problem in text_of(admin_client.post(to("columns", upload), mapped))
    assert worked(upload).state == Upload.State.READY


def test_a_list_is_read_in_another_encoding(admin_client, bring):
    upload = bring(f"customer,name,key\nacme,Müller,{KEY}\n".encode("windows-1252"))
    assert upload.state == Upload.State.FAILED
    response = admin_client.get(to("change", upload))
    page = text_of(response)
    assert "Row 2, byte" in page
    assert "Windows-1252" in page
    # Nothing after reading the file is done.
    assert [step.name for step in response.context["steps"] if step.is_now] == ["File"]

    page = text_of(admin_client.get(to("columns", upload)))
    assert "Row 2, byte" in page
    assert "How to read the file" in page
    assert '<option value="windows-1252">' in page
    admin_client.post(to("columns", upload), {"encoding": "windows-1252"})

    assert worked(upload).preview["examples"]["create"][0]["title"] == "Müller"


STATES = f"customer,name,key,state\nacme,One,{KEY},in Prüfung\nacme,Two,{KEY}2,aktiv\n"


def test_words_for_states_are_explained_on_the_page(admin_client, bring):
    upload = bring(STATES.encode())
    assert upload.preview["unknown_states"] == [["in Prüfung", 1]]
    page = admin_client.get(to("change", upload))
    assert "State “in Prüfung” (1 row)" in page.text
    chosen = page.context["choices"].initial | {"inactive": "keep", "customers": "create"}

    admin_client.post(to("choices", upload), chosen | {"state_word_0": "suspended"})

    upload = worked(upload)
    assert upload.choices["states"] == "in Prüfung = suspended"
    assert upload.preview["counts"][Upload.Action.CREATE] == 2
    # What was chosen can be chosen otherwise.
    field = admin_client.get(to("change", upload)).context["choices"]["state_word_0"]
    assert (field.label, field.value()) == ("State “in Prüfung”", "suspended")


@pytest.mark.parametrize("word", ["a=b", "x" * 200, "|"])
def test_words_that_cannot_be_explained_are_not_asked_for(admin_client, bring, word):
    upload = bring(f"customer,name,key,state\nacme,One,{KEY},{word}\n".encode())

    page = admin_client.get(to("change", upload))

    assert page.status_code == 200
    assert "state_word_0" not in page.text


def test_choices_that_concern_no_row_are_apart(admin_client, bring):
    upload = bring(f"customer,name,key\nnobody,One,{KEY}\n".encode())

    form = admin_client.get(to("change", upload)).context["choices"]

    assert [field.name for field in form.asked] == ["customers"]
    assert {field.name for field in form.others} >= {"missing_keys", "keys_of_others"}


def test_a_list_that_an_earlier_version_checked_is_shown_and_not_applied(admin_client, bring):
    upload = bring()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {staging_table(upload.pk)} DROP COLUMN customer_name")

    assert admin_client.get(to("change", upload)).status_code == 200
    admin_client.post(to("apply", upload), {"which": "good"})

    upload = worked(upload)
    assert upload.state == Upload.State.FAILED
    assert "earlier version" in upload.error
    assert "earlier version" in text_of(admin_client.get(to("change", upload)))


def test_a_preview_is_given_up(admin_client, bring):
    upload = bring()

    admin_client.post(to("cancel", upload))

    assert worked(upload).state == Upload.State.CANCELLED
    assert "This upload was cancelled" in text_of(admin_client.get(to("change", upload)))


def undo_with(client, upload):
    """Undo it as its page says: check first, and confirm what the page says then."""
    response = client.post(to("undo", upload), {"act": "check"})
    assert response.url == to("undo", upload)
    assert "finding out what undoing does" in text_of(client.get(to("undo", upload)))
    worked(upload)
    assert "Undo this upload?" in text_of(client.get(to("undo", upload)))
    client.post(to("undo", upload), {"act": "undo", "left": "0"})
    worked(upload)


def test_who_comes_too_late_is_told_so(admin_client, bring):
    upload = bring()
    admin_client.post(to("cancel", upload))

    for name in ("apply", "cancel", "choices", "undo"):
        told = {"which": "good", "act": "check"}
        response = admin_client.post(to(name, upload), told, follow=True)
        assert {str(each) for each in response.context["messages"]} == {pages.STATE_CHANGED_MESSAGE}


def test_what_something_depends_on_is_not_undone(admin_client, bring):
    upload = bring()
    admin_client.post(to("apply", upload), {"which": "good"})
    worked(upload)
    credential = Credential.objects.get()
    suspend = reverse("admin:revcred_credential_suspend", args=[credential.pk])
    confirming.post(admin_client, suspend, {})

    admin_client.post(to("undo", upload), {"act": "check"})
    worked(upload)
    page = text_of(admin_client.get(to("undo", upload)))
    assert "something depends on all of it" in page
    assert "Orders" in page
    assert 'value="undo"' not in page
    # Somebody who saw nothing that depends on it would have undone it.
    response = admin_client.post(to("undo", upload), {"act": "undo", "left": "0"}, follow=True)
    assert [str(each) for each in response.context["messages"]] == [pages.STATE_CHANGED_MESSAGE]
    assert worked(upload).state == Upload.State.APPLIED
    assert "something depended on 1 of" in " ".join(
        text_of(admin_client.get(to("change", upload))).split()
    )


def test_a_partial_undo_says_what_it_leaves_and_why(admin_client, bring):
    upload = bring(f"customer,name,key\nacme,Orders,{KEY}\nacme,Bills,{KEY}2\n")
    admin_client.post(to("apply", upload), {"which": "good"})
    worked(upload)
    suspend = reverse(
        "admin:revcred_credential_suspend", args=[Credential.objects.get(name="Orders").pk]
    )
    confirming.post(admin_client, suspend, {})
    admin_client.post(to("undo", upload), {"act": "check"})
    worked(upload)
    page = text_of(admin_client.get(to("undo", upload)))
    assert "Undo 1 of 2 changes?" in " ".join(page.split())

    admin_client.post(to("undo", upload), {"act": "undo", "left": "1"})

    assert worked(upload).state == Upload.State.UNDONE
    assert [each.name for each in Credential.objects.all()] == ["Orders"]
    page = text_of(admin_client.get(to("change", upload)))
    assert "Somebody has changed it since" in page


def test_who_lacks_rights_reads_which_before_anything_and_cannot_apply(client, bring):
    upload = bring(f"customer,name,key,holders\nacme,Orders,{KEY},ada@example.com\n")
    factories.a_subscriber(email="ada@example.com")
    actions.recheck_upload(upload=upload, by=None)
    worked(upload)
    client.force_login(staff("view_upload", "apply_upload", "add_credential"))

    page = text_of(client.get(to("change", upload)))
    assert "You may not make people members of a customer" in page
    assert "<strong>1 time</strong>" in page
    assert "“Add memberships”" in page
    assert 'value="Apply this upload"' not in page
    assert "may not create credentials" not in page

    response = client.post(to("apply", upload), {"which": "good"}, follow=True)
    [message] = map(str, response.context["messages"])
    assert "Add memberships" in message
    assert worked(upload).state == Upload.State.READY
    assert not Credential.objects.exists()


def test_who_lacks_rights_cannot_undo(client, admin_client, bring):
    upload = bring(f"customer,name,key\nacme,Orders,{KEY}\n")
    admin_client.post(to("apply", upload), {"which": "good"})
    worked(upload)
    client.force_login(staff("view_upload", "apply_upload"))

    assert "You cannot undo this upload" in text_of(client.get(to("undo", upload)))
    client.post(to("undo", upload), {"act": "check"})
    worked(upload)
    response = client.post(to("undo", upload), {"act": "undo", "left": "0"}, follow=True)
    assert "Issue credentials" in str(*response.context["messages"])
    assert worked(upload).state == Upload.State.APPLIED


def test_the_preview_names_people_of_other_customers_and_has_a_choice(admin_client, bring):
    globex = factories.a_customer("Globex")
    factories.a_subscriber(globex, email="ada@elsewhere.example.org")
    upload = bring(f"customer,name,key,holders\nacme,Orders,{KEY},ada@elsewhere.example.org\n")

    page = text_of(admin_client.get(to("change", upload)))
    for told in ("ada@elsewhere.example.org", "<td>elsewhere.example.org</td>", "Globex"):
        assert told in page
    assert "another customer" in page
    assert 'value="join"' in page

    said = dict.fromkeys(("customers", "subscribers", "keys_of_others"), "reject")
    admin_client.post(to("choices", upload), said | {"people_of_others": "join"})
    worked(upload)
    assert upload.preview["counts"]["create"] == 1


# --- While it is under way ------------------------------------------------------------------------


def test_progress_is_told_until_there_is_more_to_see(admin_client, acme):
    upload = actions.receive_upload(
        kind=ListKind.CREDENTIALS, file=BytesIO(LIST.encode()), name="keys.csv", by=None
    )

    page = text_of(admin_client.get(to("change", upload)))
    assert "It begins in a moment." in page
    assert "hx-get" in page
    response = admin_client.get(to("progress", upload))
    assert "HX-Refresh" not in response

    worked(upload)
    assert admin_client.get(to("progress", upload))["HX-Refresh"] == "true"


# --- Refused rows ---------------------------------------------------------------------------------


def test_refused_rows_come_back_mended(admin_client, bring):
    upload = bring()

    file = text_of(admin_client.get(to("rejected", upload))).decode("utf-8-sig")
    assert file.startswith("error,")
    like = f"?like={upload.pk}"
    assert f"{reverse('admin:revcred_upload_add')}{like}" in text_of(
        admin_client.get(to("change", upload))
    )
    assert "holders: This is not an e-mail address." in file
    assert KEY not in file

    mended = bring(file.replace("nobody", "").replace("globex", "acme"), name="mended.csv")
    assert mended.preview["counts"]["create"] == 2
    assert mended.preview["counts"]["rejected"] == 0


def test_refused_rows_go_back_only_to_who_brought_them(client, bring):
    upload = bring()
    client.force_login(staff("add_upload", "apply_upload", "view_upload"))

    assert client.get(to("rejected", upload)).status_code == 403
    assert "Download" not in text_of(client.get(to("change", upload)))


def test_all_refusals_are_paged_through(admin_client, bring, monkeypatch):
    monkeypatch.setattr(pages, "REJECTED_ROWS_PER_PAGE", 2)
    upload = bring("customer,name\n" + "".join(f"nobody{n},x\n" for n in range(3)))

    first = text_of(admin_client.get(to("problems", upload)))
    second = text_of(admin_client.get(f"{to('problems', upload)}?after=3"))

    assert ("nobody1" in first, "nobody2" in first) == (True, False)
    assert "?after=3" in first
    assert ("nobody1" in second, "nobody2" in second) == (False, True)


# --- Who may --------------------------------------------------------------------------------------

RIGHTS = {
    "add": {"add_upload"},
    "change": {"view_upload"},
    "columns": {"view_upload", "add_upload"},
    "choices": {"view_upload", "add_upload"},
    "cancel": {"view_upload", "add_upload"},
    "apply": {"view_upload", "apply_upload"},
    "undo": {"view_upload", "apply_upload"},
    "problems": {"view_upload"},
    "progress": {"view_upload"},
}


@pytest.mark.parametrize("name", RIGHTS)
def test_each_page_takes_its_right(client, bring, name):
    upload = bring()
    url = reverse("admin:revcred_upload_add") if name == "add" else to(name, upload)
    ask = client.post if name in ("choices", "cancel", "apply") else client.get

    for missing in RIGHTS[name]:
        client.force_login(staff(*RIGHTS[name] - {missing}))
        assert ask(url).status_code == 403
    client.force_login(staff(*RIGHTS[name]))
    assert ask(url).status_code in (200, 302)


def test_what_is_being_applied_is_stopped_by_who_may_apply(client, admin_client, bring):
    upload = bring()
    admin_client.post(to("apply", upload), {"which": "good"})
    client.force_login(staff("view_upload", "add_upload"))

    assert client.post(to("cancel", upload)).status_code == 403


# --- What is no list ------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_rejected_before_it_is_read(admin_client, monkeypatch):
    monkeypatch.setattr(pages, "MAX_FILE_BYTES", 10)
    file = SimpleUploadedFile("keys.csv", LIST.encode())

    page = admin_client.post(reverse("admin:revcred_upload_add"), {"file": file})

    assert str(pages.FILE_TOO_LARGE_MESSAGE) in text_of(page).replace("&#x27;", "'")
    assert not Upload.objects.exists()


def test_no_file_and_an_empty_one(admin_client):
    url = reverse("admin:revcred_upload_add")

    assert "This field is required." in text_of(admin_client.post(url, {}))
    empty = SimpleUploadedFile("keys.csv", b"")
    assert "The submitted file is empty." in text_of(admin_client.post(url, {"file": empty}))


def test_a_forged_form_is_rejected(admin_client, client):
    from django.test import Client

    forger = Client(enforce_csrf_checks=True)
    forger.cookies = admin_client.cookies
    file = SimpleUploadedFile("keys.csv", LIST.encode())

    assert forger.post(reverse("admin:revcred_upload_add"), {"file": file}).status_code == 403


# --- What is left of it ---------------------------------------------------------------------------


def test_a_credential_s_history_names_the_uploads_that_changed_it(admin_client, bring):
    def apply(text):
        upload = bring(text)
        admin_client.post(to("apply", upload), {"which": "all_or_nothing"})
        worked(upload)

    apply(f"customer,name,key\nacme,Orders,{KEY}\n")
    apply(f"customer,name,key,environment\nacme,Orders,{KEY},staging\n")

    url = reverse("admin:revcred_credential_history", args=[Credential.objects.get().pk])
    page = text_of(admin_client.get(url))
    assert page.count("keys.csv") == 3  # two uploads, and the event of what one changed
    assert "→ staging" in page


def test_the_list_says_what_came_of_each(admin_client, bring):
    upload = bring()
    url = reverse("admin:revcred_upload_changelist")
    assert "1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}apply" in text_of(admin_client.get(url))

    admin_client.post(to("apply", upload), {"which": "good"})
    worked(upload)

    page = text_of(admin_client.get(f"{url}?state=applied"))
    assert "1\N{NO-BREAK SPACE}created" in page
    assert upload.digest in page
    assert "keys.csv" not in text_of(admin_client.get(f"{url}?state=failed"))


@pytest.mark.parametrize(
    ("kind", "text", "model"),
    [
        ("customers", "external_key,name\nglobex,Globex\n", Customer),
        ("subscribers", "email,customer,role\nada@example.com,acme,owner\n", Subscriber),
        ("subscriptions", "external_key,customer,product\nacme-maps,acme,maps\n", Subscription),
    ],
)
def test_every_kind_goes_the_whole_way(admin_client, bring, kind, text, model):
    factories.a_product("Maps")
    before = model.objects.count()
    upload = bring(text, kind=ListKind(kind))
    assert text_of(admin_client.get(to("change", upload))).count("Create: this one") == 1

    admin_client.post(to("apply", upload), {"which": "all_or_nothing"})
    assert worked(upload).state == Upload.State.APPLIED
    assert model.objects.count() == before + 1
    assert "This upload was applied" in text_of(admin_client.get(to("change", upload)))

    undo_with(admin_client, upload)
    assert upload.state == Upload.State.UNDONE
    assert model.objects.count() == before


def test_plans_are_explained_and_their_pattern_can_be_changed(admin_client, bring, acme):
    upload = bring(f"customer,name,key,plan\nacme,Orders,{KEY},Gold\n")
    said = dict.fromkeys(("subscriptions", "plans"), "create")
    said |= dict.fromkeys(("customers", "keys_of_others"), "reject")

    page = text_of(admin_client.post(to("choices", upload), said | {"plan_keys": "{plan}"}))
    assert "The pattern needs {customer} and {plan}" in page

    admin_client.post(to("choices", upload), said | {"plan_keys": "s-{customer}-{plan}"})
    worked(upload)

    page = text_of(admin_client.get(to("change", upload)))
    assert "New subscriptions of plans: 1" in page
    assert "<code>s-acme-Gold</code>" in page


def test_the_page_asks_which_column_is_the_key(admin_client, bring, acme):
    upload = bring(f"customer,name,API key,client id\nacme,Orders,{KEY},{OTHER_KEY}\n")

    page = text_of(admin_client.get(to("change", upload)))

    assert "More than one column could be the key" in page
    assert KEY not in page


def test_what_nobody_may_overlook_stands_above_everything_else(admin_client, bring, acme):
    upload = bring(f"customer,name,key\nacme,Orders,{KEY}\n")

    page = text_of(admin_client.get(to("change", upload)))

    assert "1 new credential feeds no subscription." in page
