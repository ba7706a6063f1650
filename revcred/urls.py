from django.contrib import admin
from django.urls import include, path

from revcred.health import healthz, readyz

urlpatterns = [
    path("", include("storefront.urls")),
    path("", include("revcred.api.urls")),
    path("", include("metering.urls")),
    path("account/2fa/", include("revcred.second_factor_urls")),
    path("account/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

handler404 = "revcred.middleware.not_here"
handler500 = "revcred.middleware.broken"
