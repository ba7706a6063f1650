"""Lists that somebody brings: the pages from the file to what became of it, and back again."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
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
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import BadgeTone, badge
from revcred.admin_toolkit.lists import parse_id
from revcred.models import Upload, User
from revcred.uploads import actions, columns, examples, files, rights, writing
from revcred.uploads.columns import ListKind
from revcred.uploads.doors import preview
from revcred.uploads.doors.forms import ChoicesForm, ColumnsForm, UploadFileForm
from revcred.uploads.doors.template_tags import lasting
from revcred.uploads.reading import MAX_FILE_BYTES
from revcred.uploads.writing import CONTENT_TYPES, ListFormat

State = Upload.State

UPLOAD_STATE_TONES: dict[str, BadgeTone] = {
    State.APPLIED: "good",
    State.FAILED: "bad",
    State.CANCELLED: "over",
    State.UNDONE: "over",
}
UPLOAD, APPLY = "revcred.add_upload", "revcred.apply_upload"
FILE_TOO_LARGE_MESSAGE = (
    f"This file is larger than the {MAX_FILE_BYTES // 10**9} GB that an upload may have."
)
STATE_CHANGED_MESSAGE = "That was not possible any more: here is how things are now."
REJECTED_ROWS_SHOWN = 10
REJECTED_ROWS_PER_PAGE = 100

UploadPage = Callable[[HttpRequest, Upload], HttpResponseBase]


class UploadStateFilter(admin.SimpleListFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label).capitalize()) for value, label in State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() in State.values else queryset


@admin.register(Upload)
class UploadAdmin(ReadOnlyModelAdmin):
    list_display = ("file", "kind", "state_", "did", "by", "created_at", "took_", "digest_")
    list_display_links = ("file",)
    list_select_related = ("by",)
    list_filter = (UploadStateFilter,)
    change_list_template = "admin/uploads/list.html"

    # --- The list ---

    @admin.display(description="file")
    def file(self, upload: Upload) -> str:
        return upload.file_name

    @admin.display(description="state")
    def state_(self, upload: Upload) -> str:
        return upload_state_badge(upload)

    @admin.display(description="rows")
    def did(self, upload: Upload) -> str:
        return preview.outcome_in_short(upload)

    @admin.display(description="took")
    def took_(self, upload: Upload) -> str | None:
        return lasting(upload.took).replace(" ", "\N{NO-BREAK SPACE}") if upload.took else None

    @admin.display(description="SHA-256")
    def digest_(self, upload: Upload) -> str:
        return format_html('<code title="{}">{}…</code>', upload.digest, upload.digest[:8])

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(UPLOAD)

    # --- Where the pages are ---

    def get_urls(self) -> list[URLPattern]:
        upload, apply = UPLOAD, APPLY
        own = {
            "columns": self._page(self.columns_page, upload),
            "choices": self._page(self.choose, upload, post=True),
            "apply": self._page(self.apply, apply, post=True),
            "cancel": self._page(self.cancel, upload, apply, post=True),
            "undo": self._page(self.undo_page, apply),
            "refusals": self._page(self.refusals_page),
            "refused": self._page(self.refused, upload),
            "progress": self._page(self.progress),
        }
        return [
            path(
                "lists/<slug:kind>-<slug:what>.<slug:form>",
                self.admin_site.admin_view(self.list_for_people),
                name="revcred_upload_list",
            ),
            *(
                path(f"<int:number>/{name}/", page, name=f"revcred_upload_{name}")
                for name, page in own.items()
            ),
            *super().get_urls(),
        ]

    def _page(self, page: UploadPage, *rights: str, post: bool = False) -> Any:
        """About one upload, for those who may see it and have one of these rights."""

        def shown(request: HttpRequest, number: int) -> HttpResponseBase:
            if not self.has_view_permission(request):
                raise PermissionDenied
            if rights and not any(request.user.has_perm(each) for each in rights):
                raise PermissionDenied
            return page(request, get_object_or_404(self.get_queryset(request), pk=number))

        return self.admin_site.admin_view(require_POST(shown) if post else shown)

    def _show(
        self, request: HttpRequest, name: str, title: str, upload: Upload | None, **context: Any
    ) -> HttpResponse:
        whole = self.admin_site.each_context(request) | {
            "title": title,
            "subtitle": None,
            "opts": self.opts,
            "upload": upload,
            "may_upload": request.user.has_perm(UPLOAD),
            "may_apply": request.user.has_perm(APPLY),
            **context,
        }
        if upload:
            whole |= {"state": upload_state_badge(upload), "back": self.url_of(upload)}
            whole.setdefault("steps", preview.upload_steps(upload))
        return TemplateResponse(request, f"admin/uploads/{name}.html", whole)

    def url_of(self, upload: Upload) -> str:
        return reverse("admin:revcred_upload_change", args=[upload.pk])

    def _to(self, upload: Upload) -> HttpResponse:
        return HttpResponseRedirect(self.url_of(upload))

    # --- A file ---

    @method_decorator(csrf_exempt)
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The token against forgery is in the body, which is read if it is not too large."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_FILE_BYTES:
            return self._show_file_form(request, UploadFileForm(), FILE_TOO_LARGE_MESSAGE)
        files.uploads_directory()
        return csrf_protect(self._take_file)(request)

    def _take_file(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return self._show_file_form(request, UploadFileForm())
        form = UploadFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._show_file_form(request, form)
        said = form.cleaned_data
        try:
            upload = actions.receive_upload(
                kind=_requested_kind(request),
                file=said["file"],
                name=said["file"].name,
                encoding=said["encoding"] or None,
                delimiter=said["delimiter"] or None,
                by=_signed_in_user(request),
            )
        except actions.FileTooLarge:
            return self._show_file_form(request, form, FILE_TOO_LARGE_MESSAGE)
        return self._to(upload)

    def _show_file_form(
        self, request: HttpRequest, form: UploadFileForm, problem: str = ""
    ) -> HttpResponse:
        kind = _requested_kind(request)
        return self._show(
            request,
            "file",
            "Upload a list",
            None,
            form=form,
            problem=problem,
            kind=kind,
            kinds=[*ListKind],
            columns=columns.columns_of(kind),
            examples=examples.example_rows(kind),
            formats=[("csv", "CSV"), ("xlsx", "Excel"), ("jsonl", "JSON Lines")],
            largest=MAX_FILE_BYTES,
        )

    def list_for_people(
        self, request: HttpRequest, kind: str, what: str, form: str
    ) -> HttpResponseBase:
        """A template, or a filled example."""
        makers = {"template": writing.template_file, "example": writing.example_file}
        if kind not in [*ListKind] or form not in [*ListFormat] or what not in makers:
            raise Http404
        written = makers[what](ListKind(kind), ListFormat(form))
        return _download_response(BytesIO(written), f"{kind}-{what}.{form}", ListFormat(form))

    # --- An upload, in whatever state it is ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        upload = self.get_object(request, object_id)
        if not isinstance(upload, Upload):
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, upload):
            raise PermissionDenied
        if upload.is_under_way:
            return self._show(
                request, "under_way", str(upload), upload, **_progress_context(upload)
            )
        if upload.state == State.UNMAPPED:
            return self.columns_page(request, upload)
        if upload.state == State.READY:
            return self._show_preview(request, upload, ChoicesForm(upload=upload))
        return self._show_outcome(request, upload)

    def progress(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        """What a page that is being looked at asks for; it is loaded anew once there is more."""
        response = self._show(request, "progress", str(upload), upload, **_progress_context(upload))
        if not upload.is_under_way:
            response["HX-Refresh"] = "true"
        return response

    def columns_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        form = ColumnsForm(request.POST or None, upload=upload)
        if request.method != "POST" or not form.is_valid():
            steps = preview.steps_at(preview.COLUMNS_STEP)
            return self._show(request, "columns", str(upload), upload, form=form, steps=steps)
        said = form.cleaned_data
        is_anew = form.is_read_anew
        return self._change(
            request,
            upload,
            partial(
                actions.recheck_upload,
                mapping=None if is_anew else form.chosen(),
                for_all=form.for_all(),
                encoding=said["encoding"] if is_anew else None,
                delimiter=said["delimiter"] if is_anew else None,
            ),
        )

    def choose(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        if upload.state != State.READY:
            messages.warning(request, STATE_CHANGED_MESSAGE)
            return self._to(upload)
        form = ChoicesForm(request.POST, upload=upload)
        if not form.is_valid():
            return self._show_preview(request, upload, form)
        return self._change(
            request, upload, partial(actions.recheck_upload, choices=form.choices())
        )

    def _show_preview(
        self, request: HttpRequest, upload: Upload, choices: forms.Form
    ) -> HttpResponse:
        figures = preview.preview_counts(upload)
        return self._show(
            request,
            "preview",
            str(upload),
            upload,
            figures=figures,
            adds={name: count for name, count in upload.preview["adds"].items() if count},
            refused=preview.count_rejected(upload),
            reasons=preview.problem_counts(upload),
            members=preview.members_to_add(upload),
            lacking=rights.missing_rights_to_apply(upload, _signed_in_user(request)),
            to_do=preview.rows_to_apply(upload),
            choices=choices,
            left_out=[
                name for at, name in enumerate(upload.header) if str(at) not in upload.mapping
            ],
            for_all=preview.fixed_values_with_titles(upload),
            **self._refused(request, upload),
        )

    def _refused(self, request: HttpRequest, upload: Upload) -> dict[str, Any]:
        return {
            "refusals": _problems_with_titles(upload, most=REJECTED_ROWS_SHOWN),
            "are_all": preview.count_rejected(upload) <= REJECTED_ROWS_SHOWN,
            "may_have_refused": _is_uploader(request, upload)
            and actions.rejected_file_format(upload=upload),
        }

    def _show_outcome(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        return self._show(
            request,
            "outcome",
            str(upload),
            upload,
            did=preview.outcome_counts(upload),
            may_undo=upload.state in Upload.UNDOABLE and upload.changes.exists(),
            may_check=upload.state == State.FAILED and not upload.applied_at,
            **self._refused(request, upload),
        )

    # --- What is done with it ---

    def _change(
        self, request: HttpRequest, upload: Upload, act: Callable[..., None]
    ) -> HttpResponse:
        try:
            act(upload=upload, by=_signed_in_user(request))
        except actions.WrongUploadState:
            messages.warning(request, STATE_CHANGED_MESSAGE)
        except actions.SomeRowsRejected:
            messages.error(request, "Some rows are refused, so not all of it can be applied.")
        except actions.NothingToApply:
            messages.error(request, "No row would change anything.")
        except actions.NotAllowed as lacking:
            messages.error(request, str(lacking))
        return self._to(upload)

    def apply(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        act = partial(actions.apply_upload, whole=request.POST.get("which") == "whole")
        return self._change(request, upload, act)

    def cancel(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        """Who may upload may also give it up again; what is being applied takes the other right."""
        if upload.state == State.APPLYING and not request.user.has_perm(APPLY):
            raise PermissionDenied
        return self._change(request, upload, actions.cancel_upload)

    def undo_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        if request.method == "POST":
            try:
                return self._change(request, upload, actions.undo_upload)
            except actions.UndoBlocked:
                pass  # said below
        if upload.state not in Upload.UNDOABLE or not upload.changes.exists():
            messages.warning(request, STATE_CHANGED_MESSAGE)
            return self._to(upload)
        return self._show(
            request,
            "undo",
            "Undo",
            upload,
            did=preview.outcome_counts(upload),
            dependents=actions.undo_obstacles(upload=upload),
            lacking=rights.missing_rights_to_undo(upload, _signed_in_user(request)),
        )

    # --- What was refused ---

    def refusals_page(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        after = parse_id(request.GET.get("after")) or 0
        found = _problems_with_titles(upload, after=after, most=REJECTED_ROWS_PER_PAGE)
        rows = {each["row"] for each in found}
        more = max(rows) if len(rows) == REJECTED_ROWS_PER_PAGE else None
        return self._show(request, "refusals", "Refused rows", upload, refusals=found, more=more)

    def refused(self, request: HttpRequest, upload: Upload) -> HttpResponseBase:
        """Keys as they came are in it, so that it goes back to nobody but who brought them."""
        if not _is_uploader(request, upload):
            raise PermissionDenied
        form = actions.rejected_file_format(upload=upload)
        if form is None:
            raise Http404
        file = TemporaryFile(dir=files.uploads_directory())  # noqa: SIM115 - closed when all of it is sent
        actions.write_rejected_rows(upload=upload, to=file)
        file.seek(0)
        stem = upload.file_name.rpartition(".")[0] or upload.file_name
        return _download_response(file, f"{stem}-refused.{form}", form)


def upload_state_badge(upload: Upload) -> str:
    return badge(
        str(upload.get_state_display()).lower(), UPLOAD_STATE_TONES.get(upload.state, "warn")
    )


def _progress_context(upload: Upload) -> dict[str, Any]:
    return {
        "progress": upload.progress(timezone.now()),
        "is_asked_to_stop": upload.cancel_asked_at is not None,
    }


def _problems_with_titles(upload: Upload, *, most: int, after: int = 0) -> list[dict[str, Any]]:
    found = actions.list_row_problems(upload=upload, after=after, most=most)
    titles = preview.column_titles(upload, [each.column for each in found])
    return [
        {"row": each.row, "column": title, "hint": each.hint, "message": each.message}
        for each, title in zip(found, titles, strict=True)
    ]


def _requested_kind(request: HttpRequest) -> ListKind:
    kind = request.GET.get("kind", "")
    return ListKind(kind) if kind in [*ListKind] else ListKind.CREDENTIALS


def _signed_in_user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _is_uploader(request: HttpRequest, upload: Upload) -> bool:
    return upload.by_id == request.user.pk


def _download_response(file: Any, name: str, form: ListFormat) -> FileResponse:
    response = FileResponse(file, as_attachment=True, filename=name)
    response["Content-Type"] = CONTENT_TYPES[form]
    response["Cache-Control"] = "no-store"
    return response
