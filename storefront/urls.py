from django.urls import path

from storefront.views import credentials, home, subscriptions, transactions

app_name = "storefront"

urlpatterns = [
    path("", home.home, name="home"),
    path("credentials/", credentials.listing, name="credentials"),
    path("credentials/<int:credential>/", credentials.page, name="credential"),
    path(
        "credentials/<int:credential>/keys/<int:key>/reveal/",
        credentials.reveal,
        {"field": "value"},
        name="reveal_key",
    ),
    path(
        "credentials/<int:credential>/keys/<int:key>/reveal-secret/",
        credentials.reveal,
        {"field": "secret"},
        name="reveal_secret",
    ),
    path("subscriptions/", subscriptions.listing, name="subscriptions"),
    path("subscriptions/<int:subscription>/", subscriptions.page, name="subscription"),
    path("transactions/<uuid:transaction>/", transactions.page, name="transaction"),
]
