"""URLs of the project. Those of `account` replace or add to allauth's, so they come first."""

from allauth.socialaccount.providers.openid_connect.views import callback
from django.contrib import admin
from django.urls import include, path, re_path

from revcred import appearance
from revcred.accounts import company_sign_in, looking, pages
from revcred.runtime.health import healthz, readyz

account_urlpatterns = [
    path("login/code/", pages.AskForCodeView.as_view(), name="account_request_login_code"),
    path("login/code/confirm/", pages.MailedCodeView.as_view(), name="account_confirm_login_code"),
    path(
        "password/change/", pages.AtomicPasswordChangeView.as_view(), name="account_change_password"
    ),
    path("password/set/", pages.AtomicPasswordSetView.as_view(), name="account_set_password"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        pages.AtomicPasswordResetView.as_view(),
        name="account_reset_password_from_key",
    ),
    path(
        "invitation/<str:token>/",
        pages.open_mail_link,
        {"purpose": pages.INVITATION_PURPOSE},
        name="account_invitation",
    ),
    path("invitation/", pages.invitation_page, name="account_invitation_page"),
    path(
        "address/confirm/<str:token>/",
        pages.open_mail_link,
        {"purpose": pages.CONFIRM_ADDRESS_PURPOSE},
        name="account_confirm_address",
    ),
    path("address/confirm/", pages.confirm_address_page, name="account_confirm_address_page"),
    path(
        "address/stop/<str:token>/",
        pages.open_mail_link,
        {"purpose": pages.STOP_ADDRESS_PURPOSE},
        name="account_stop_address",
    ),
    path("address/stop/", pages.stop_address_page, name="account_stop_address_page"),
    path("company/", company_sign_in.company_sign_in_page, name="account_company_sign_in"),
    path(
        "company/confirm/",
        company_sign_in.confirm_at_company_page,
        name="account_confirm_at_company",
    ),
    path("company/<str:provider_id>/back/", callback, name="openid_connect_callback"),
    path("sessions/", pages.sessions_page, name="account_sessions"),
    path("preferences/", pages.preferences_page, name="account_time_zone"),
    path("language/", pages.language_page, name="account_language"),
    path("here/<str:token>/", pages.known_device_page, name="account_known_device"),
    path("look/end/", looking.end_look_page, name="account_end_look"),
    path("address/known/", pages.resume_reveals_page, name="account_resume_reveals"),
]

urlpatterns = [
    path("", include("storefront.urls")),
    path("", include("revcred.api.urls")),
    path("", include("metering.urls")),
    # Ahead of allauth's own URLs, which are the same, so that these win.
    path("account/2fa/", include("revcred.accounts.second_factor_urls")),
    path("account/", include(account_urlpatterns)),
    path("account/", include("allauth.account.urls")),
    path("appearance/<str:digest>/colours.css", appearance.stylesheet, name="colours"),
    path("appearance/<str:digest>/logo", appearance.logo, name="logo"),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]

# Named as strings, because Django imports them when an error occurs.
handler400 = "revcred.runtime.middleware.bad_request_response"
handler403 = "revcred.runtime.middleware.forbidden_response"
handler404 = "revcred.runtime.middleware.not_found_response"
handler500 = "revcred.runtime.middleware.server_error_response"
