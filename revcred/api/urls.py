from django.urls import path

from revcred.uploads.doors.api import (
    OneUpload,
    UploadApply,
    UploadCancel,
    UploadCheck,
    UploadErrors,
    UploadRefused,
    Uploads,
    UploadUndo,
)

app_name = "api"

urlpatterns = [
    path("v1/uploads", Uploads.as_view(), name="uploads"),
    path("v1/uploads/<int:number>", OneUpload.as_view(), name="upload"),
    path("v1/uploads/<int:number>/errors", UploadErrors.as_view(), name="errors"),
    path("v1/uploads/<int:number>/refused", UploadRefused.as_view(), name="refused"),
    path("v1/uploads/<int:number>/check", UploadCheck.as_view(), name="check"),
    path("v1/uploads/<int:number>/apply", UploadApply.as_view(), name="apply"),
    path("v1/uploads/<int:number>/cancel", UploadCancel.as_view(), name="cancel"),
    path("v1/uploads/<int:number>/undo", UploadUndo.as_view(), name="undo"),
]
