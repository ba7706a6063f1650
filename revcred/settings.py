"""Settings, from the environment. A missing one stops the start with its name.

`.env` in this folder is read if it exists (see `.env.example`), and so is what `make run` keeps in
`.run/environment`; variables of the environment itself win over both.
"""

from pathlib import Path

import environ
from csp.constants import NONE, SELF

BASE_DIR = Path(__file__).resolve().parent.parent

# Of each setting NAME, NAME_FILE may say the file in which its value stands, as secrets do.
env = environ.FileAwareEnv()
for file in (BASE_DIR / ".env", BASE_DIR / ".run" / "environment"):
    if file.is_file():
        env.read_env(file)

# --- Required -------------------------------------------------------------------------------------

SECRET_KEY = env.str("SECRET_KEY")
# The keyring that seals keys and secrets, newest first. Never SECRET_KEY: they rotate separately.
FERNET_KEYS = env.list("FERNET_KEYS")
# The key of fingerprints. Without the other, changing it makes every known key unknown.
FINGERPRINT_KEY = env.str("FINGERPRINT_KEY")
# The key before that one, until `manage.py rotate_fingerprint_key` has moved all fingerprints.
OLD_FINGERPRINT_KEY = env.str("OLD_FINGERPRINT_KEY", default="")
# The key of the audit's chain. It stays as it is when the key of fingerprints is exchanged.
AUDIT_KEY = env.str("AUDIT_KEY", default=FINGERPRINT_KEY)
# Digests of keys for gateways are made under it, so gateways have it, too. Empty: none are made.
EXPORT_KEY = env.str("EXPORT_KEY", default="")

# --- Where it runs ------------------------------------------------------------------------------

ENVIRONMENT = env.str("ENVIRONMENT", default="production")
PRODUCTION = ENVIRONMENT == "production"
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Addresses and networks of the reverse proxies whose X-Forwarded-For and -Proto are believed.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])

ROOT_URLCONF = "revcred.urls"
WSGI_APPLICATION = "revcred.wsgi.application"
AUTH_USER_MODEL = "revcred.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Of programs and of what is kept. People choose among LANGUAGES.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "revcred.formats"
TIME_ZONE = "UTC"
USE_TZ = True

INSTALLED_APPS = [
    "revcred.apps.RevcredConfig",
    "metering.apps.MeteringConfig",
    "storefront.apps.StorefrontConfig",
    "revcred.apps.RevcredAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_linear_migrations",
    "csp",
]

MIDDLEWARE = [
    "revcred.runtime.middleware.RequestIdMiddleware",
    "revcred.runtime.telemetry.TelemetryMiddleware",
    "revcred.runtime.middleware.ClientAddressMiddleware",
    "revcred.runtime.middleware.PagesCompressionMiddleware",
    "revcred.runtime.middleware.DatabaseUnavailableMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "revcred.runtime.middleware.BrowserFeaturesMiddleware",
    "revcred.runtime.middleware.PagesStaticFilesMiddleware",
    "revcred.runtime.middleware.BrowserLanguageMiddleware",
    "revcred.runtime.middleware.PagesCspMiddleware",
    "revcred.runtime.middleware.PagesSessionMiddleware",
    "revcred.runtime.middleware.HostCheckMiddleware",
    "revcred.runtime.middleware.PagesCsrfMiddleware",
    "revcred.runtime.middleware.PagesAuthenticationMiddleware",
    "revcred.runtime.middleware.PagesMessageMiddleware",
    "revcred.runtime.keys_in_urls.KeysInUrlsMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "revcred.accounts.company_sign_in.CompanySessionMiddleware",
    "revcred.accounts.limits.LimitsMiddleware",
    "revcred.accounts.second_factor.SecondFactorMiddleware",
    "revcred.accounts.looking.LookAsSubscriberMiddleware",
    "revcred.runtime.middleware.PrivatePagesMiddleware",
    "revcred.runtime.middleware.PagePreferencesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "revcred.appearance.appearance",
            ],
            "builtins": ["revcred.templatetags.moments", "revcred.templatetags.languages"],
            "libraries": {"uploads": "revcred.uploads.doors.template_tags"},
        },
    },
]

# --- Stores -------------------------------------------------------------------------------------

STATEMENT_TIMEOUT = env.int("STATEMENT_TIMEOUT", default=30)  # seconds

DATABASES = {"default": env.db("DATABASE_URL")}
# The role that owns the tables, for `migrate` and a few other commands. That of DATABASE_URL then
# may neither change tables nor what the audit says.
MIGRATION_DATABASE = env.db("MIGRATION_DATABASE_URL", default=env.str("DATABASE_URL"))
# Tables of uploads in progress, made while revcred runs.
STAGING_SCHEMA = "revcred_staging"
_given_options = DATABASES["default"].get("OPTIONS", {})
_has_several_hosts = "," in f"{DATABASES['default']['HOST']}{_given_options.get('host', '')}"
# Only the primary is of use. Tried in any order: a server that has vanished from the network would
# otherwise hold up every new connection for as long as connecting may take.
_SEVERAL_HOSTS_OPTIONS = {"target_session_attrs": "read-write", "load_balance_hosts": "random"}
DATABASES["default"] |= {
    "ENGINE": "revcred.postgresql",
    "ATOMIC_REQUESTS": False,  # actions open their own transactions
    "CONN_MAX_AGE": 600,
    # Otherwise the first request after a restart of PostgreSQL fails.
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": (_SEVERAL_HOSTS_OPTIONS if _has_several_hosts else {})
    | _given_options
    | {
        "application_name": "revcred",
        "connect_timeout": 2,
        # After so many executions a statement would be prepared unasked, which none is.
        "prepare_threshold": 1 << 31 if env.bool("PREPARED_STATEMENTS", default=True) else None,
        "tcp_user_timeout": 5_000,
        "keepalives_idle": 30,
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT}s -c lock_timeout=5s"
        " -c idle_in_transaction_session_timeout=60s"
        f" -c search_path=public,{STAGING_SCHEMA}",
    },
}

# For packages that ask for one. In PostgreSQL, so that pages work without Redis.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "revcred_cache",
    }
}

# --- Celery: carries bells and nothing else -------------------------------------------------------

CELERY_BROKER_URL = env.str("REDIS_URL")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "health_check_interval": 10,
}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 50
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Whoever reaches the broker could stop workers otherwise. So health checks look at a file, which a
# worker touches while its event loop runs and is connected; none if empty.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
WORKER_HEARTBEAT_FILE = env.str("WORKER_HEARTBEAT_FILE", default="")
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
# Otherwise Celery closes the database connection around every task.
CELERY_DB_REUSE_MAX = 10_000

# Uploads have a worker of their own, so that attribution never waits for them.
CELERY_TASK_ROUTES = {"revcred.process_uploads": {"queue": "uploads"}}

# --- Uploads ------------------------------------------------------------------------------------

# Files of uploads, until each upload ends. Web and worker processes have to share this folder.
UPLOADS_DIR = BASE_DIR / env.str("UPLOADS_DIR", default=".run/uploads")
UPLOADS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
# Bytes of the files of one user's uploads, and of all uploads, and percent of the disk that stay
# free: PostgreSQL often has the same one.
UPLOAD_BYTES_PER_USER = env.int("UPLOAD_BYTES_PER_USER", default=2_000_000_000)
UPLOAD_BYTES = env.int("UPLOAD_BYTES", default=10_000_000_000)
UPLOAD_FREE_PERCENT = env.int("UPLOAD_FREE_PERCENT", default=10)
# Files that are still arriving lie there, too: other folders may be readable for others.
FILE_UPLOAD_TEMP_DIR = UPLOADS_DIR
# Locks a file while it arrives, so that one left by a dead process is recognised and deleted.
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "revcred.uploads.files.LockedUploadHandler",
]

# Days after which an upload can no longer be undone: what it replaced is deleted, secrets too. Of
# more changes than these the oldest go earlier.
UPLOAD_UNDO_DAYS = env.int("UPLOAD_UNDO_DAYS", default=90)
MAX_UPLOAD_CHANGES = env.int("MAX_UPLOAD_CHANGES", default=10_000_000)

# --- Server -------------------------------------------------------------------------------------

# Threads of one process for what is not a gateway's POST, each class by itself.
PROGRAM_THREADS = env.int("PROGRAM_THREADS", default=4)  # receipts, metrics, what scripts ask
PAGE_THREADS = env.int("PAGE_THREADS", default=4)
UPLOAD_THREADS = env.int("UPLOAD_THREADS", default=2)
# A body that comes more slowly, or takes longer in all, is not waited for.
MIN_BODY_RATE = env.int("MIN_BODY_RATE", default=1_000)  # bytes a second
BODY_SECONDS = env.int("BODY_SECONDS", default=60)
UPLOAD_SECONDS = env.int("UPLOAD_SECONDS", default=600)

# --- Metering -----------------------------------------------------------------------------------

# How many transactions may wait for attribution: more of one gateway's are answered with 429, more
# of all gateways' with 503.
MAX_BACKLOG_PER_GATEWAY = env.int("MAX_BACKLOG_PER_GATEWAY", default=50_000)
MAX_BACKLOG = env.int("MAX_BACKLOG", default=1_000_000)
# From this many POSTs in flight on, in one process, a gateway may have only its fair share of them.
FAIR_SHARE_ABOVE = env.int("FAIR_SHARE_ABOVE", default=32)
# Whether what gateways post is answered in the server's event loop, and not by Django in threads.
DOORS_IN_EVENT_LOOP = env.bool("DOORS_IN_EVENT_LOOP", default=True)
# How old, and how far in the future, a transaction may be, by the database's clock.
OLDEST_TRANSACTION_DAYS = env.int("OLDEST_TRANSACTION_DAYS", default=31)
NEWEST_TRANSACTION_MINUTES = env.int("NEWEST_TRANSACTION_MINUTES", default=60)
# Calls of AI name customer, product, subscriber and credential. STRICT_NAMES: all names have to
# exist and belong together, or the call waits in quarantine. The other: create unknown ones.
STRICT_NAMES = env.bool("STRICT_NAMES", default=False)
AUTO_PROVISION = env.bool("AUTO_PROVISION", default=False)
# Seconds that a partial transaction waits for its other part before it is attributed as it is. A
# part that comes later completes it.
PAIRING_TIMEOUT_SECONDS = env.int("PAIRING_TIMEOUT_SECONDS", default=600)
# Days that a transaction is remembered: longer than it could be accepted again, so that it is
# counted only once. As long its receipt can be asked for by its id.
SEEN_TRANSACTION_DAYS = env.int("SEEN_TRANSACTION_DAYS", default=400)
# Days that the ledger keeps transactions.
LEDGER_DAYS = env.int("LEDGER_DAYS", default=400)
# Rows that are kept of each, the oldest are deleted: calls sent again with other content, finished
# re-attributions, answers under idempotency keys (for a day), discovered sources.
MAX_CONFLICTS = env.int("MAX_CONFLICTS", default=1_000_000)
MAX_FINISHED_CLAIMS = env.int("MAX_FINISHED_CLAIMS", default=100_000)
MAX_IDEMPOTENT_POSTS = env.int("MAX_IDEMPOTENT_POSTS", default=1_000_000)
MAX_DISCOVERED_SOURCES = env.int("MAX_DISCOVERED_SOURCES", default=5_000)
# Days after which a discovered source is forgotten that no call names any more.
DISCOVERED_SOURCE_DAYS = env.int("DISCOVERED_SOURCE_DAYS", default=90)
# Days that calls of unknown keys, and of none, wait in quarantine. Never fewer than a call may be
# old, by which time its gateway cannot send it again.
UNKNOWN_KEY_DAYS = env.int("UNKNOWN_KEY_DAYS", default=90)
# How many unknown keys that were seen once wait in quarantine, for each gateway. The oldest are
# dropped and counted: a scanner may try millions.
MAX_UNKNOWN_KEYS_PER_GATEWAY = env.int("MAX_UNKNOWN_KEYS_PER_GATEWAY", default=1_000_000)

# --- Sign-in ------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["revcred.accounts.hashers.ConcurrencyLimitedHasher"]
# Passwords that a process hashes at the same time; others are asked to try again (429).
PASSWORD_HASHES_AT_ONCE = env.int("PASSWORD_HASHES_AT_ONCE", default=2)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "storefront:home"
ACCOUNT_ADAPTER = "revcred.accounts.adapters.InvitationOnlyAdapter"
ACCOUNT_FORMS = {
    "reset_password": "revcred.accounts.adapters.ForgottenPasswordForm",
    "change_password": "revcred.accounts.adapters.OwnPasswordForm",
    "request_login_code": "revcred.accounts.adapters.AskForCodeForm",
    "confirm_login_code": "revcred.accounts.adapters.MailedCodeForm",
}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # an invitation or a reset goes to that address anyway
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGIN_ON_PASSWORD_RESET = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_MAX_EMAIL_ADDRESSES = 1  # the one that was invited; only an admin changes it
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # no mail to whatever address somebody types
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300  # seconds that a confirmed password lasts
# Subscribers may sign in by a code that is sent to their address.
ACCOUNT_LOGIN_BY_CODE_ENABLED = env.bool("SIGN_IN_CODES", default=True)
ACCOUNT_LOGIN_BY_CODE_TIMEOUT = 600  # seconds
ACCOUNT_LOGIN_BY_CODE_MAX_ATTEMPTS = 3  # of typing a code, then another has to be sent
ACCOUNT_RATE_LIMITS = False  # counted by revcred.accounts.limits: a cache forgets when it is full
# Passwords, codes or links that may be asked for within these seconds at one account from one
# network. Then there is a pause of as many seconds; further failures double it, up to the maximum.
SIGN_IN_FAILURES = env.int("SIGN_IN_FAILURES", default=5)
SIGN_IN_FAILURE_SECONDS = env.int("SIGN_IN_FAILURE_SECONDS", default=300)
SIGN_IN_MAX_PAUSE_SECONDS = env.int("SIGN_IN_MAX_PAUSE_SECONDS", default=3600)
# The same from all networks together, in an hour.
SIGN_IN_FAILURES_PER_ACCOUNT = env.int("SIGN_IN_FAILURES_PER_ACCOUNT", default=50)
# What one address, or one network of IPv6, may post to these pages in a minute.
SIGN_IN_ATTEMPTS_PER_ADDRESS = env.int("SIGN_IN_ATTEMPTS_PER_ADDRESS", default=30)
# A browser in which somebody has signed in has a limit of its own, for so many days.
KNOWN_DEVICE_DAYS = env.int("KNOWN_DEVICE_DAYS", default=180)
# Leading bits of an address that make a network, of IPv4 and of IPv6.
SIGN_IN_NETWORK_BITS = env.list("SIGN_IN_NETWORK_BITS", cast=int, default=[24, 56])
# One person reveals so many different keys within these minutes. One more is refused, and the
# person and the owners are told.
# What subscribers do with their own credentials, and owners with the people of their customer.
SUBSCRIBER_ACTIONS = env.list("SUBSCRIBER_ACTIONS", default=["rotate", "suspend", "revoke", "team"])
REVEAL_LIMIT_KEYS = env.int("REVEAL_LIMIT_KEYS", default=10)
REVEAL_LIMIT_MINUTES = env.int("REVEAL_LIMIT_MINUTES", default=10)

# The providers of customers are in a table: revcred.models.CompanySignIn.
SOCIALACCOUNT_ADAPTER = "revcred.accounts.company_sign_in.CompanySignInAdapter"
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5  # seconds that a provider has for an answer

# Seconds after which a session ends that is not used, and after which each one ends.
SESSION_ENGINE = "revcred.accounts.sessions"
STAFF_SESSION_IDLE_SECONDS = env.int("STAFF_SESSION_IDLE_SECONDS", default=1_800)
STAFF_SESSION_SECONDS = env.int("STAFF_SESSION_SECONDS", default=43_200)
SUBSCRIBER_SESSION_IDLE_SECONDS = env.int("SUBSCRIBER_SESSION_IDLE_SECONDS", default=604_800)
SUBSCRIBER_SESSION_SECONDS = env.int("SUBSCRIBER_SESSION_SECONDS", default=2_592_000)

# Events of failed and refused attempts in an hour, of all logins. Further ones are counted, and
# recorded later.
MAX_ATTEMPT_EVENTS_PER_HOUR = env.int("MAX_ATTEMPT_EVENTS_PER_HOUR", default=1_000)

# "required": nobody opens the administration without a second factor. "optional": only users who
# have set one up are asked for it.
STAFF_SECOND_FACTOR = env.str(
    "STAFF_SECOND_FACTOR", default="required" if PRODUCTION else "optional"
)
MFA_ADAPTER = "revcred.accounts.second_factor.SealingMfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = False  # as ACCOUNT_RATE_LIMITS
MFA_FORMS = {
    "activate_totp": "revcred.accounts.second_factor_forms.ActivateAppForm",
    "add_webauthn": "revcred.accounts.second_factor_forms.AddPasskeyForm",
    "authenticate": "revcred.accounts.second_factor_forms.SignInCodeForm",
    "authenticate_webauthn": "revcred.accounts.second_factor_forms.SignInPasskeyForm",
    "edit_webauthn": "revcred.accounts.second_factor_forms.RenamePasskeyForm",
    "login_webauthn": "revcred.accounts.second_factor_forms.PasskeyOnlyForm",
    "reauthenticate": "revcred.accounts.second_factor_forms.ConfirmByCodeForm",
    "reauthenticate_webauthn": "revcred.accounts.second_factor_forms.ConfirmByPasskeyForm",
}
MFA_TOTP_TOLERANCE = 1  # steps of 30 seconds that a phone's clock may be off
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Safe because nobody signs up: nobody can lock an address's owner out by adding a factor first.
MFA_ALLOW_UNVERIFIED_EMAIL = True

DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="revcred@localhost")
vars().update(env.email("EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=10)  # seconds the mail server has for an answer
# Start of links in mails, such as https://credentials.example.com. Without it, links name the first
# of ALLOWED_HOSTS, and never the host that a request names.
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/") or (
    f"{'https' if PRODUCTION else 'http'}://{next(iter(ALLOWED_HOSTS), '')}"
)
SENT_MAIL_DAYS = env.int("SENT_MAIL_DAYS", default=30)  # recipient and subject are kept so long

# --- Headers and cookies ------------------------------------------------------------------------

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
MAX_SESSIONS = env.int("MAX_SESSIONS", default=100_000)  # of more, those that end first are deleted
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
if PRODUCTION:
    # Browsers take such cookies from this host alone, and by HTTPS alone.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
SECURE_SSL_REDIRECT = False  # the proxy's job; plain HTTP is what it speaks to us
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if PRODUCTION else 0)
# Affect the whole domain for a long time, so only the operator may turn them on.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
# ClientAddressMiddleware takes the header from everybody but TRUSTED_PROXIES.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "revcred.runtime.middleware.expired_form_response"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

SILENCED_SYSTEM_CHECKS = [
    "security.W003",  # looks for Django's own class; PagesCsrfMiddleware inherits from it
    "security.W005",  # subdomains are not ours to decide about: SECURE_HSTS_INCLUDE_SUBDOMAINS
    "security.W008",  # the proxy redirects to HTTPS, and speaks plain HTTP to us
    "security.W021",  # browsers' lists are hard to get out of: SECURE_HSTS_PRELOAD
]

# --- Static files -------------------------------------------------------------------------------

STATIC_URL = "static/"
# Collected at build time; in development served from the apps' folders.
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else None
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not PRODUCTION
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- API ------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "revcred.api.schema.RequiredBodySchema",
    "EXCEPTION_HANDLER": "revcred.api.errors.error_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "revcred",
    "DESCRIPTION": "For gateways: post metered transactions, and ask what became of them."
    " For scripts of the staff: upload lists.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- OpenTelemetry --------------------------------------------------------------------------------

# Where traces and metrics are sent by OTLP over HTTP, such as http://collector:4318. Its packages
# are optional: requirements/otel.txt. They read further OTEL_… variables themselves.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")

# --- Logs: events, never a body, a key or a secret ------------------------------------------------

# "text": lines for people. "json": an object a line, for programs that collect logs.
LOG_FORMAT = env.str("LOG_FORMAT", default="text")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "class": "revcred.runtime.logs.RedactingFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "revcred.runtime.logs.JsonFormatter"},
    },
    "filters": {
        "without_keys": {"()": "revcred.runtime.logs.RedactingFilter"},
        "client_errors": {"()": "revcred.runtime.logs.ClientErrorsFilter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_FORMAT == "json" else "text",
            "filters": ["client_errors", "without_keys"],
        }
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "django.request": {"filters": ["without_keys"]},
        "django.server": {"handlers": ["console"], "level": "INFO", "propagate": False},
        # Granian sets up its own, with its own level.
        "_granian": {"handlers": ["console"], "propagate": False},
        "celery": {"level": "WARNING"},
        "fido2": {"level": "WARNING"},  # else it writes the id of each passkey that is used
        "kombu": {"level": "WARNING"},
    },
}
