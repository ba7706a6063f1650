"""URLs of the storefront."""

from django.urls import path

from storefront.views import calls, credentials, home, subscriptions, transactions

app_name = "storefront"

urlpatterns = [
    path("", home.home_page, name="home"),
    path("credentials/", credentials.credentials_page, name="credentials"),
    path("credentials/<int:credential>/", credentials.credential_page, name="credential"),
    path(
        "credentials/<int:credential>/keys/<int:key>/reveal/",
        credentials.reveal_page,
        {"field": "value"},
        name="reveal_key",
    ),
    path(
        "credentials/<int:credential>/keys/<int:key>/reveal-secret/",
        credentials.reveal_page,
        {"field": "secret"},
        name="reveal_secret",
    ),
    path("subscriptions/", subscriptions.subscriptions_page, name="subscriptions"),
    path("subscriptions/<int:subscription>/", subscriptions.subscription_page, name="subscription"),
    path("calls/", calls.calls_page, name="calls"),
    path("transactions/<uuid:transaction>/", transactions.transaction_page, name="transaction"),
]
