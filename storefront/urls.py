"""URLs of the storefront."""

from django.urls import path

from storefront import action_forms, team_forms
from storefront.views import (
    calls,
    credential_actions,
    credential_requests,
    credentials,
    first_call,
    home,
    styleguide,
    subscriptions,
    team,
    transactions,
    usage,
)

app_name = "storefront"

OWN_ACTIONS: dict[str, type[action_forms.OwnActionForm]] = {
    "rotate": action_forms.RotateOwnForm,
    "suspend": action_forms.SuspendOwnForm,
    "resume": action_forms.ResumeOwnForm,
    "revoke": action_forms.RevokeOwnForm,
}
OWN_KEY_ACTIONS: dict[str, type[action_forms.OwnActionForm]] = {
    "end": action_forms.EndOwnKeyForm,
    "extend": action_forms.ExtendOwnKeyForm,
}
TEAM_ACTIONS: dict[str, type[team_forms.MemberForm]] = {
    "resend": team_forms.ResendForm,
    "role": team_forms.RoleForm,
    "remove": team_forms.RemoveForm,
    "hand-over": team_forms.HandOverForm,
}

urlpatterns = [
    path("", home.home_page, name="home"),
    path("credentials/", credentials.credentials_page, name="credentials"),
    path("credentials/new/", credential_requests.new_credential_page, name="new_credential"),
    path(
        "credentials/requests/<int:number>/withdraw/",
        credential_requests.withdraw_request,
        name="withdraw",
    ),
    path("credentials/<int:credential>/", credentials.credential_page, name="credential"),
    path(
        "credentials/<int:credential>/keys/<int:key>/arrival/",
        first_call.arrival_section,
        name="arrival",
    ),
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
    *(
        path(
            f"credentials/<int:credential>/{verb}/",
            credential_actions.action_page,
            {"form_class": form},
            name=verb,
        )
        for verb, form in OWN_ACTIONS.items()
    ),
    *(
        path(
            f"credentials/<int:credential>/keys/<int:key>/{verb}/",
            credential_actions.action_page,
            {"form_class": form},
            name=f"{verb}_key",
        )
        for verb, form in OWN_KEY_ACTIONS.items()
    ),
    path("subscriptions/", subscriptions.subscriptions_page, name="subscriptions"),
    path("subscriptions/<int:subscription>/", subscriptions.subscription_page, name="subscription"),
    path("team/", team.team_page, name="team"),
    path("team/invite/", team.invite_page, name="invite"),
    path("team/holders/", team.holders_page, name="holders"),
    *(
        path(
            f"team/<int:membership>/{verb}/",
            team.member_page,
            {"form_class": form},
            name=f"member_{verb}",
        )
        for verb, form in TEAM_ACTIONS.items()
    ),
    path("usage/", usage.usage_page, name="usage"),
    path("calls/", calls.calls_page, name="calls"),
    path("storefront/styleguide/", styleguide.styleguide_page, name="styleguide"),
    path("transactions/<uuid:transaction>/", transactions.transaction_page, name="transaction"),
]
