from django.contrib import admin
from django.urls import include, path, re_path

from revcred.accounts import pages
from revcred.runtime.health import healthz, readyz

account = [
    path("password/change/", pages.PasswordChange.as_view(), name="account_change_password"),
    path("password/set/", pages.PasswordSet.as_view(), name="account_set_password"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        pages.PasswordByLink.as_view(),
        name="account_reset_password_from_key",
    ),
    path(
        "invitation/<str:token>/",
        pages.open_link,
        {"purpose": pages.INVITATION},
        name="account_invitation",
    ),
    path("invitation/", pages.invitation, name="account_invitation_page"),
    path(
        "address/confirm/<str:token>/",
        pages.open_link,
        {"purpose": pages.CONFIRM},
        name="account_confirm_address",
    ),
    path("address/confirm/", pages.confirm_address, name="account_confirm_address_page"),
    path(
        "address/stop/<str:token>/",
        pages.open_link,
        {"purpose": pages.STOP},
        name="account_stop_address",
    ),
    path("address/stop/", pages.stop_address, name="account_stop_address_page"),
    path("address/known/", pages.resume_reveals, name="account_resume_reveals"),
]

urlpatterns = [
    path("", include("storefront.urls")),
    path("", include("revcred.api.urls")),
    path("", include("metering.urls")),
    path("account/2fa/", include("revcred.accounts.second_factor_urls")),
    path("account/", include(account)),
    path("account/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

handler404 = "revcred.runtime.middleware.not_here"
handler429 = "revcred.accounts.pages.too_many"
handler500 = "revcred.runtime.middleware.broken"
