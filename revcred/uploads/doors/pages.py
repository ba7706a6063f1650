"""Pages of uploads in the administration: file, columns, preview, outcome and undo."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import BadgeTone, badge
from revcred.admin_toolkit.filters import ChoiceFilter, LinkedFilter, moment_filter
from revcred.admin_toolkit.lists import parse_id
from revcred.admin_toolkit.site_search import MAX_HITS_PER_KIND, SearchHit, SearchTerm
from revcred.languages import within_sentence
from revcred.list_files import CONTENT_TYPES, ListFormat
from revcred.models import Upload, User
from revcred.texts import gettext_lazy, kept_language
from revcred.uploads import (
    actions,
    columns,
    examples,
    files,
    preview_warnings,
    quota,
    rights,
    writing,
)
from revcred.uploads.columns import KIND_LABELS, ListKind
from revcred.uploads.doors import preview
from revcred.uploads.doors.forms import ChoicesForm, ColumnsForm, UploadFileForm
from revcred.uploads.doors.template_tags import duration
from revcred.uploads.lanes import uploads_before
from revcred.uploads.reading import MAX_FILE_BYTES
from revcred.uploads.steps import progress_of

# Other states are those in which somebody, or a worker, still has something to do.
UPLOAD_STATE_TONES: dict[str, BadgeTone] = {
    Upload.State.APPLIED: "good",
    Upload.State.FAILED: "bad",
    Upload.State.CANCELLED: "over",
    Upload.State.UNDONE: "over",
}
RIGHT_TO_UPLOAD = "revcred.add_upload"
RIGHT_TO_APPLY_UPLOADS = "revcred.apply_upload"
FILE_TOO_LARGE_MESSAGE = format_lazy(
    gettext_lazy("This file is larger than the {gigabytes} GB that an upload may have."),
    gigabytes=MAX_FILE_BYTES // 10**9,
)
STATE_CHANGED_MESSAGE = gettext_lazy(
    "Nothing was done, because the upload has changed since you opened the page. This is"
    " its current state."
)
REJECTED_ROWS_SHOWN = 10
REJECTED_ROWS_PER_PAGE = 100

UploadPage = Callable[[HttpRequest, Upload], HttpResponseBase]


class UploadStateFilter(ChoiceFilter):
    """Uploads by their state."""

    title, parameter_name, choices_of = gettext_lazy("state"), "state", Upload.State


class UploadKindFilter(ChoiceFilter):
    """Uploads of one kind of list."""

    title, parameter_name = gettext_lazy("kind"), "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, gettext(label)) for kind, label in KIND_LABELS.items()]


class UploaderFilter(LinkedFilter):
    """Uploads of one user."""

    title, parameter_name, model = gettext_lazy("by"), "by", User


@admin.register(Upload)
class UploadAdmin(ReadOnlyModelAdmin):
    list_display = ("file", "kind_", "state_", "did", "by", "created_at", "took_", "digest_")
    list_display_links = ("file",)
    list_select_related = ("by",)
    list_filter = (
        UploadStateFilter,
        UploadKindFilter,
        UploaderFilter,
        moment_filter("since", "since", "created_at__gte"),
        moment_filter("before", "before", "created_at__lt"),
    )
    change_list_template = "admin/uploads/list.html"

    # --- The list ---

    @admin.display(description=gettext_lazy("file"))
    def file(self, upload: Upload) -> str:
        return upload.file_name

    @admin.display(description=gettext_lazy("kind"))
    def kind_(self, upload: Upload) -> str:
        return within_sentence(KIND_LABELS[ListKind(upload.kind)])

    @admin.display(description=gettext_lazy("state"))
    def state_(self, upload: Upload) -> str:
        return upload_state_badge(upload)

    @admin.display(description=gettext_lazy("rows"))
    def did(self, upload: Upload) -> str:
        return preview.outcome_in_short(upload)

    @admin.display(description=gettext_lazy("took"))
    def took_(self, upload: Upload) -> str | None:
        return duration(upload.took).replace(" ", "\N{NO-BREAK SPACE}") if upload.took else None

    @admin.display(description="SHA-256")
    def digest_(self, upload: Upload) -> str:
        return format_html('<code title="{}">{}…</code>', upload.digest, upload.digest[:8])

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(RIGHT_TO_UPLOAD)

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the latest uploads whose file name has the words, or the one of that number."""
        if not term.words:
            return []
        number = parse_id(term.words.removeprefix("#"))
        named = Upload.objects.filter(file_name__icontains=term.words)
        found = Upload.objects.filter(pk=number) if number is not None else named
        return [
            SearchHit(
                label=upload.file_name,
                url=self.url_of(upload),
                detail=f"#{upload.pk} · {upload.created_at:%Y-%m-%d %H:%M} UTC",
            )
            for upload in found[: MAX_HITS_PER_KIND + 1]
        ]

    # --- Addresses of the pages ---

    def get_urls(self) -> list[URLPattern]:
        upload, apply = RIGHT_TO_UPLOAD, RIGHT_TO_APPLY_UPLOADS
        own = {
            "columns": self._page(self.columns_page, upload),
            "choices": self._page(self.choose, upload, post=True),
            "apply": self._page(self.apply, apply, post=True),
            "cancel": self._page(self.cancel, upload, apply, post=True),
            "undo": self._page(self.undo_page, apply),
            "problems": self._page(self.problems_page),
            "rejected": self._page(self.rejected_file, upload),
            "progress": self._page(self.progress),
        }
        return [
            path(
                "lists/<slug:kind>-<slug:what>.<slug:form>",
                self.admin_site.admin_view(self.template_or_example),
                name="revcred_upload_list",
            ),
            *(
                path(f"<int:number>/{name}/", page, name=f"revcred_upload_{name}")
                for name, page in own.items()
            ),
            # Ours come first: Django's pattern for an object's page would match all of them.
            *super().get_urls(),
        ]

    def _page(self, page: UploadPage, *rights: str, post: bool = False) -> Any:
        """Return the view of a page of one upload, for people who have one of these rights."""

        def view(request: HttpRequest, number: int) -> HttpResponseBase:
            if not self.has_view_permission(request):
                raise PermissionDenied
            if rights and not any(request.user.has_perm(right) for right in rights):
                raise PermissionDenied
            return page(request, get_object_or_404(self.get_queryset(request), pk=number))

        return self.admin_site.admin_view(require_POST(view) if post else view)

    def _show(
        self, request: HttpRequest, name: str, title: str, upload: Upload | None, **context: Any
    ) -> HttpResponse:
        page_context = self.admin_site.each_context(request) | {
            "title": title,
            "subtitle": None,
            "opts": self.opts,
            "upload": upload,
            "may_upload": request.user.has_perm(RIGHT_TO_UPLOAD),
            "may_apply": request.user.has_perm(RIGHT_TO_APPLY_UPLOADS),
            **context,
        }
        if upload:
            page_context |= {"state": upload_state_badge(upload), "back": self.url_of(upload)}
            page_context.setdefault("steps", preview.upload_steps(upload))
        return TemplateResponse(request, f"admin/uploads/{name}.html", page_context)

    def url_of(self, upload: Upload) -> str:
        return reverse("admin:revcred_upload_change", args=[upload.pk])

    def _redirect_to(self, upload: Upload) -> HttpResponse:
        return HttpResponseRedirect(self.url_of(upload))

    # --- Uploading a file ---

    @method_decorator(csrf_exempt)
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the form, or receive a file.

        The CSRF token is in the body. Django's check would read the body of any size, so the size
        is looked at first and the token is checked afterwards.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
        if announced > MAX_FILE_BYTES:
            return self._show_file_form(request, UploadFileForm(), str(FILE_TOO_LARGE_MESSAGE))
        try:  # before Django's upload handler writes the file
            quota.check_room(by=_signed_in_user(request), more=announced)
        except quota.NoRoom as error:
            return self._show_file_form(request, UploadFileForm(), str(error))
        return csrf_protect(self._take_file)(request)

    def _take_file(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return self._show_file_form(request, UploadFileForm())
        form = UploadFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._show_file_form(request, form)
        data = form.cleaned_data
        try:
            upload = actions.receive_upload(
                kind=_requested_kind(request),
                file=data["file"],
                name=data["file"].name,
                encoding=data["encoding"] or None,
                delimiter=data["delimiter"] or None,
                like=self._upload_like(request),
                header_row=data["header_row"],
                by=_signed_in_user(request),
            )
        except actions.FileTooLarge:
            return self._show_file_form(request, form, str(FILE_TOO_LARGE_MESSAGE))
        except actions.NoRoom as error:
            return self._show_file_form(request, form, str(error))
        return self._redirect_to(upload)

    def _show_file_form(
        self, request: HttpRequest, form: UploadFileForm, problem: str = ""
    ) -> HttpResponse:
        kind = _requested_kind(request)
        like = self._upload_like(request)
        if like:
            kind = ListKind(like.kind)
        return self._show(
            request,
            "file",
            gettext("Upload corrected rows") if like else gettext("Upload a list"),
            None,
            like=like,
            form=form,
            problem=problem,
            kind=kind,
            kinds=[*ListKind],
            columns=columns.columns_of(kind),
            examples=examples.example_rows(kind),
            formats=[("csv", "CSV"), ("xlsx", "Excel"), ("jsonl", "JSON Lines")],
            largest=MAX_FILE_BYTES,
        )

    def _upload_like(self, request: HttpRequest) -> Upload | None:
        """Return the upload whose corrected rows are brought, which says how to read them."""
        number = parse_id(request.GET.get("like"))
        return (number and get_object_or_404(self.get_queryset(request), pk=number)) or None

    def template_or_example(
        self, request: HttpRequest, kind: str, what: str, form: str
    ) -> HttpResponseBase:
        """Download an empty template or a filled example of a kind of list."""
        makers = {"template": writing.template_file, "example": writing.example_file}
        if kind not in [*ListKind] or form not in [*ListFormat] or what not in makers:
            raise Http404
        content = makers[what](ListKind(kind), ListFormat(form))
        content_type = CONTENT_TYPES[ListFormat(form)]
        return _download_response(BytesIO(content), f"{kind}-{what}.{form}", content_type)

    # --- One upload: a page for each state ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        upload = self.get_object(request, object_id)
        if not isinstance(upload, Upload):
            # The same answer as Django's own pages give for a missing object.
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, upload):
            raise PermissionDenied
        if upload.is_under_way:
            return self._show_progress(request, upload)
        if upload.state == Upload.State.UNMAPPED:
            return self.columns_page(request, upload)
        if upload.state == Upload.State.READY:
            return self._show_preview(request, upload, ChoicesForm(upload=upload))
        return self._show_outcome(request, upload)

    def _show_progress(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        return self._show(request, "under_way", str(upload), upload, **_progress_context(upload))

    def progress(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        """Show the progress bar, which an open page requests every second.

        After the end of the phase, a header makes the page load anew.
        """
        if not upload.is_under_way:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return self._show(request, "progress", str(upload), upload, **_progress_context(upload))

    def columns_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        form = ColumnsForm(request.POST or None, upload=upload)
        if request.method != "POST" or not form.is_valid():
            steps = preview.steps_at(preview.COLUMNS_STEP)
            return self._show(request, "columns", str(upload), upload, form=form, steps=steps)
        data = form.cleaned_data
        is_read_anew = form.is_read_anew
        # Read another way, the file may have other columns, so a mapping would make no sense yet.
        return self._run_action(
            request,
            upload,
            partial(
                actions.recheck_upload,
                mapping=None if is_read_anew else form.chosen_mapping(),
                fixed_values=form.fixed_values(),
                encoding=data["encoding"] if is_read_anew else None,
                delimiter=data["delimiter"] if is_read_anew else None,
                header_row=(data["header_row"] or 0) if is_read_anew else None,
            ),
        )

    def choose(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        if upload.state != Upload.State.READY:
            messages.warning(request, STATE_CHANGED_MESSAGE)
            return self._redirect_to(upload)
        form = ChoicesForm(request.POST, upload=upload)
        if not form.is_valid():
            return self._show_preview(request, upload, form)
        return self._run_action(
            request, upload, partial(actions.recheck_upload, choices=form.choices())
        )

    def _show_preview(
        self, request: HttpRequest, upload: Upload, choices: forms.Form
    ) -> HttpResponse:
        also_created = upload.preview["also_creates"]
        return self._show(
            request,
            "preview",
            str(upload),
            upload,
            preview_counts=preview.preview_counts(upload),
            also_created={name: count for name, count in also_created.items() if count},
            rejected=preview.count_rejected(upload),
            reasons=preview.problem_counts(upload),
            members=preview.members_to_add(upload),
            warnings=preview_warnings.shown_warnings(upload),
            new_subscriptions=upload.preview.get("new_subscriptions"),
            **preview.moves_context(upload.preview.get("moves")),
            calls_brought=upload.preview.get("calls"),
            lacking=rights.missing_rights_to_apply(upload, _signed_in_user(request)),
            to_do=preview.rows_to_apply(upload),
            choices=choices,
            left_out=[
                name
                for position, name in enumerate(upload.header)
                if str(position) not in upload.mapping
            ],
            fixed_values=preview.fixed_values_with_titles(upload),
            **self._rejected_rows_context(request, upload),
        )

    def _rejected_rows_context(self, request: HttpRequest, upload: Upload) -> dict[str, Any]:
        return {
            "problems": _problems_with_titles(upload, most=REJECTED_ROWS_SHOWN),
            "are_all": preview.count_rejected(upload) <= REJECTED_ROWS_SHOWN,
            "may_download_rejected": _is_uploader(request, upload)
            and actions.rejected_file_of(upload=upload),
        }

    def _show_outcome(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        return self._show(
            request,
            "outcome",
            str(upload),
            upload,
            outcome_counts=preview.outcome_counts(upload),
            may_undo=upload.may_be_undone and upload.changes.exists(),
            may_check=upload.state == Upload.State.FAILED and not upload.applied_at,
            **self._rejected_rows_context(request, upload),
        )

    # --- Actions ---

    def _run_action(
        self, request: HttpRequest, upload: Upload, action: Callable[..., None], *, to: str = ""
    ) -> HttpResponse:
        """Run the action, say why if it was not possible, and go to the upload's page or `to`."""
        try:
            action(upload=upload, by=_signed_in_user(request))
        except actions.WrongUploadState:
            messages.warning(request, STATE_CHANGED_MESSAGE)
        except actions.SomeRowsRejected:
            messages.error(request, gettext("Nothing was applied, because some rows are rejected."))
        except actions.NothingToApply:
            messages.error(
                request, gettext("Nothing was applied, because no row changes anything.")
            )
        except actions.NotAllowed as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(to or self.url_of(upload))

    def apply(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        all_or_nothing = request.POST.get("which") == "all_or_nothing"
        action = partial(actions.apply_upload, all_or_nothing=all_or_nothing)
        return self._run_action(request, upload, action)

    def cancel(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        """Cancel the upload. While it is being applied, this takes the right to apply."""
        is_being_applied = upload.state == Upload.State.APPLYING
        if is_being_applied and not request.user.has_perm(RIGHT_TO_APPLY_UPLOADS):
            raise PermissionDenied
        return self._run_action(request, upload, actions.cancel_upload)

    def undo_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        """Show what undoing does, once a worker has found out; or let it find out, or undo."""
        if request.method == "POST":
            return self._undo_or_check(request, upload)
        if upload.is_under_way:
            return self._show_progress(request, upload)
        if not upload.may_be_undone or not upload.changes.exists():
            messages.warning(request, STATE_CHANGED_MESSAGE)
            return self._redirect_to(upload)
        return self._show(
            request,
            "undo",
            gettext("Undo"),
            upload,
            outcome_counts=preview.outcome_counts(upload),
            lacking=rights.missing_rights_to_undo(upload, _signed_in_user(request)),
            **preview.undo_context(upload),
        )

    def _undo_or_check(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        undo_url = reverse("admin:revcred_upload_undo", args=[upload.pk])
        if request.POST.get("act") == "check":

            def check(*, upload: Upload, by: User) -> None:
                actions.check_undoing(upload=upload)

            return self._run_action(request, upload, check, to=undo_url)
        # The page has said how many changes are left: somebody may have asked anew meanwhile.
        left = upload.undo_preview.get("left")
        if left is None or request.POST.get("left") != str(left):
            messages.warning(request, STATE_CHANGED_MESSAGE)
            return HttpResponseRedirect(undo_url)
        action = partial(actions.undo_upload, keep_depended=left > 0)
        return self._run_action(request, upload, action)

    # --- Rejected rows ---

    def problems_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        after = parse_id(request.GET.get("after")) or 0
        found = _problems_with_titles(upload, after=after, most=REJECTED_ROWS_PER_PAGE)
        # A row may have several problems, so rows are counted and not problems.
        rows = {problem["row"] for problem in found}
        more = max(rows) if len(rows) == REJECTED_ROWS_PER_PAGE else None
        return self._show(
            request, "problems", gettext("Rejected rows"), upload, problems=found, more=more
        )

    def rejected_file(self, request: HttpRequest, upload: Upload) -> HttpResponseBase:
        """Download the rejected rows. They contain keys in clear, so only the uploader may."""
        # Superusers get no keys this way either.
        if not _is_uploader(request, upload):
            raise PermissionDenied
        rejected = actions.rejected_file_of(upload=upload)
        if rejected is None:
            raise Http404
        file = TemporaryFile(dir=files.uploads_directory())  # noqa: SIM115 - closed when all of it is sent
        with kept_language():
            actions.write_rejected_rows(upload=upload, to=file)
        file.seek(0)
        return _download_response(file, rejected.name, rejected.content_type)


def upload_state_badge(upload: Upload) -> str:
    return badge(
        within_sentence(upload.get_state_display()), UPLOAD_STATE_TONES.get(upload.state, "warn")
    )


def _progress_context(upload: Upload) -> dict[str, Any]:
    before = uploads_before(upload)
    return {
        "progress": progress_of(upload, timezone.now()),
        "before": before.select_related("by").first(),
        "more_before": max(before.count() - 1, 0),
        "is_asked_to_stop": upload.cancel_asked_at is not None,
    }


def _problems_with_titles(upload: Upload, *, most: int, after: int = 0) -> list[dict[str, Any]]:
    found = actions.list_row_problems(upload=upload, after=after, most=most)
    titles = preview.column_titles(upload, [problem.column for problem in found])
    return [
        {"row": problem.row, "column": title, "hint": problem.hint, "message": problem.message}
        for problem, title in zip(found, titles, strict=True)
    ]


def _requested_kind(request: HttpRequest) -> ListKind:
    kind = request.GET.get("kind", "")
    return ListKind(kind) if kind in [*ListKind] else ListKind.CREDENTIALS


def _signed_in_user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _is_uploader(request: HttpRequest, upload: Upload) -> bool:
    return upload.by_id == request.user.pk


def _download_response(file: Any, name: str, content_type: str) -> FileResponse:
    response = FileResponse(file, as_attachment=True, filename=name)
    response["Content-Type"] = content_type
    response["Cache-Control"] = "no-store"  # it may contain keys
    return response
