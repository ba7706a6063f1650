"""Authentication of the API for staff by tokens, and the permissions that its views ask for."""

from typing import cast

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from revcred.models import User, UserToken


class UserAuthentication(BaseAuthentication):
    """Authentication by the header `Authorization: Bearer TOKEN`."""

    def authenticate(self, request: Request) -> tuple[User, UserToken]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            message = "Send one of your tokens in the header 'Authorization: Bearer'."
            raise AuthenticationFailed(message, code="not_authenticated")
        record = UserToken.objects.valid().of(token.strip()).select_related("user").first()
        # One answer for both: nobody learns which tokens have existed.
        if record is None:
            raise AuthenticationFailed(
                "This token is unknown, revoked or expired.", code="unknown_token"
            )
        record.stamp()
        return record.user, record

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="revcred"'


def user_of(request: Request) -> User:
    return cast("User", request.user)


class MayUpload(BasePermission):
    """Permission if the token has the scope and its user has the right: neither is enough."""

    message = "This token, or its user, may not upload lists."
    code = "not_allowed"
    scope: str = UserToken.Scope.CHECK

    def has_permission(self, request: Request, view: APIView) -> bool:
        token = cast("UserToken", request.auth)
        right = UserToken.RIGHTS_BY_SCOPE[self.scope]
        return self.scope in token.scopes and user_of(request).has_perm(right)


class MayApply(MayUpload):
    message = "This token, or its user, may not apply, cancel or undo uploads."
    scope = UserToken.Scope.APPLY
