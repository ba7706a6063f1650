"""A company's OpenID Connect provider: allauth's, in a process of its own.

People sign in by what their browser says in headers: who they are, whether the address is
verified, and how many seconds ago they signed in.
"""

import os
import sys
from datetime import timedelta
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

CLIENT, SECRET = "revcred", "a-secret-of-the-client-3Kq8"
PERSON, VERIFIED, AGE = "X-Person", "X-Verified", "X-Age"


def configure(place):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    settings.configure(
        SECRET_KEY="of-the-provider",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": place}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "allauth",
            "allauth.account",
            "allauth.idp.oidc",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "allauth.account.middleware.AccountMiddleware",
        ],
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
        ],
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
        LOGIN_URL="account_login",
        IDP_OIDC_PRIVATE_KEY=pem.decode(),
        IDP_OIDC_ADAPTER=f"{__name__}.adapter_class",
    )
    django.setup()


def adapter_class():
    from allauth.idp.oidc.adapter import DefaultOIDCAdapter

    class Adapter(DefaultOIDCAdapter):
        def get_claims(self, purpose, user, client, scopes, email=None, **kwargs):
            claims = super().get_claims(purpose, user, client, scopes, email, **kwargs)
            return claims | {"auth_time": int(user.last_login.timestamp())}

    return Adapter()


def sign_in(request):
    from allauth.account.models import EmailAddress
    from django.contrib.auth import login
    from django.contrib.auth.models import User
    from django.http import HttpResponseRedirect
    from django.utils import timezone

    email = request.headers[PERSON]
    user, _ = User.objects.get_or_create(username=email, defaults={"email": email})
    is_verified = request.headers.get(VERIFIED, "yes") == "yes"
    EmailAddress.objects.update_or_create(
        user=user, email=email, defaults={"verified": is_verified, "primary": True}
    )
    login(request, user)
    user.last_login = timezone.now() - timedelta(seconds=int(request.headers.get(AGE, 0)))
    user.save()
    return HttpResponseRedirect(request.GET["next"])


def register(request):
    """Let the client lead back to one more address."""
    from allauth.idp.oidc.models import Client
    from django.http import HttpResponse

    client = Client.objects.filter(pk=CLIENT).first() or Client(pk=CLIENT, name=CLIENT)
    client.set_secret(SECRET)
    client.skip_consent = True
    client.set_scopes(["openid", "profile", "email"])
    client.set_redirect_uris([*client.get_redirect_uris(), request.GET["back"]])
    client.save()
    return HttpResponse()


def urls():
    from django.urls import include, path

    return [
        path("account/login/", sign_in, name="account_login"),
        path("account/reauthenticate/", sign_in, name="account_reauthenticate"),
        path("register/", register),
        path("", include("allauth.idp.urls")),
    ]


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    sys.modules["tests.identity_provider"] = sys.modules[__name__]
    configure(sys.argv[1])
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    sys.modules[__name__].urlpatterns = urls()
    call_command("migrate", verbosity=0)
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=QuietHandler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    main()
