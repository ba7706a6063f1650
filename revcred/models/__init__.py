from revcred.models.appearance import Appearance
from revcred.models.audit import AuditEvent, AuditVerb
from revcred.models.company_sign_ins import CompanySignIn
from revcred.models.credentials import (
    Assignment,
    Credential,
    ExportedDigest,
    ExternalKey,
    FingerprintMove,
    KeyringCheck,
    KeyUse,
    SealedValue,
    Suspension,
    UnmovedFingerprint,
)
from revcred.models.customers import Customer, Membership, Subscriber
from revcred.models.erasures import PendingErasure
from revcred.models.gateways import Gateway
from revcred.models.limits import RateCounter
from revcred.models.mail import OutgoingMail
from revcred.models.names import FormerName
from revcred.models.products import Product
from revcred.models.requests import CredentialRequest
from revcred.models.saved_views import SavedView
from revcred.models.sessions import Session
from revcred.models.signing_keys import SigningKey
from revcred.models.sources import PathRule, Source
from revcred.models.subscriptions import Subscription
from revcred.models.tokens import UserToken
from revcred.models.uploads import RememberedMapping, Upload, UploadChange
from revcred.models.users import AddressChange, FailedSignIns, User

__all__ = [
    "AddressChange",
    "Appearance",
    "Assignment",
    "AuditEvent",
    "AuditVerb",
    "CompanySignIn",
    "Credential",
    "CredentialRequest",
    "Customer",
    "ExportedDigest",
    "ExternalKey",
    "FailedSignIns",
    "FingerprintMove",
    "FormerName",
    "Gateway",
    "KeyUse",
    "KeyringCheck",
    "Membership",
    "OutgoingMail",
    "PathRule",
    "PendingErasure",
    "Product",
    "RateCounter",
    "RememberedMapping",
    "SavedView",
    "SealedValue",
    "Session",
    "SigningKey",
    "Source",
    "Subscriber",
    "Subscription",
    "Suspension",
    "UnmovedFingerprint",
    "Upload",
    "UploadChange",
    "User",
    "UserToken",
]
