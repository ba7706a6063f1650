from django.urls import path

from revcred.uploads.doors.api import (
    ApplyUploadView,
    CancelUploadView,
    CheckUploadView,
    RejectedRowsView,
    UndoUploadView,
    UploadDetailView,
    UploadErrorsView,
    UploadListView,
)

app_name = "api"

urlpatterns = [
    path("v1/uploads", UploadListView.as_view(), name="uploads"),
    path("v1/uploads/<int:number>", UploadDetailView.as_view(), name="upload"),
    path("v1/uploads/<int:number>/errors", UploadErrorsView.as_view(), name="errors"),
    path("v1/uploads/<int:number>/rejected", RejectedRowsView.as_view(), name="rejected"),
    path("v1/uploads/<int:number>/check", CheckUploadView.as_view(), name="check"),
    path("v1/uploads/<int:number>/apply", ApplyUploadView.as_view(), name="apply"),
    path("v1/uploads/<int:number>/cancel", CancelUploadView.as_view(), name="cancel"),
    path("v1/uploads/<int:number>/undo", UndoUploadView.as_view(), name="undo"),
]
