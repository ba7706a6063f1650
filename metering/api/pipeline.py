"""The intake of one POST: the same steps at every door.

admit    whose token is it
check    may it post, and is there room in the inbox
read     the body, and what it says in its dialect: calls and rejected items
commit   provision what the calls name, commit them, record what was rejected
answer   in the dialect's way; a POST that is rejected as a whole is on the gateway's page

`Intake` admits the gateway and inflates the body; `Dialect.process` decodes it, stores the calls
and answers. Each step that may query the database is yielded as a function. Django's views
run it in the request's thread. The server runs it in its event loop; if it needs a query, Django
raises, and the server calls it again from the start in a thread. So a step must have no side effect
before its first query.
"""

import time
from functools import partial
from typing import Any

from rest_framework.exceptions import APIException

from metering.api import bodies
from metering.api.authentication import (
    DATABASE_DEADLINE_SECONDS,
    Admission,
    MayPost,
    require_admission,
)
from metering.api.backlog import backlog
from metering.api.dialects import Answer, Dialect, GatewayPost, IncomingPost
from metering.inbox import rejections
from metering.inbox.intake import Step, Steps, run_steps
from metering.inbox.redaction import WithheldSecrets
from metering.inbox.rejections import ItemRejection, RejectedItem
from metering.trial_calls import keep_trial_calls
from revcred.api.errors import error_answer
from revcred.postgresql import database_deadline

# A post answered with one of these would be rejected again however often it is sent, so that the
# gateway's operator has to learn of it. Overload (429, 503) passes by itself, and a missing right
# (401, 403) is a matter of the token.
REJECTION_STATUSES = {400, 409, 413, 415}


class Intake:
    """One POST on its way through a door."""

    def __init__(self, incoming: IncomingPost, dialect: Dialect) -> None:
        self._incoming = incoming
        self._dialect = dialect
        self.admission: Admission | None = None  # once it has shown a valid token

    def steps(self) -> Steps[Answer]:
        """Take the POST in and return the answer.

        Raises:
            APIException: no call is stored, only the reason on the gateway's page.
            django.db.DatabaseError: the outcome is unknown; sending the POST again is safe.
        """
        # The cheap checks first: nothing of the body is read for a gateway that may not post.
        token = self._dialect.token_of(self._incoming)
        admission: Admission = yield partial(require_admission, "", token)
        self.admission = admission
        MayPost.check(admission)
        yield partial(backlog.check, admission.gateway.pk)
        try:
            post = self._read_post(admission, token)
            # Only the token decides: nothing that is posted can make a call a test.
            if admission.test_token:
                return (yield from self._dialect.rehearse(post, admission.test_token))
            answer = yield from self._dialect.process(post)
        except APIException as error:
            if error.status_code in REJECTION_STATUSES:
                yield partial(self._record_reason, admission, error, token)
            raise
        return answer

    def _read_post(self, admission: Admission, token: str) -> GatewayPost:
        headers = self._incoming.headers
        return GatewayPost(
            gateway=admission.gateway,
            path=self._incoming.path,
            headers=headers,
            body=bodies.inflate_body(
                self._incoming.raw_body(), headers.get("content-encoding", "")
            ),
            now=admission.now(),
            token=token,
        )

    def _record_reason(self, admission: Admission, error: APIException, token: str) -> None:
        """Store the reason why the whole post was rejected, for the gateway's operator.

        There is no delivery that would count it among the rejected items: hence `uncounted=1`.
        """
        rejected, withheld = [rejection_from_error(error)], WithheldSecrets(token)
        if admission.test_token:
            keep_trial_calls(
                *(admission.gateway, admission.test_token, [], rejected),
                withheld=withheld,
                at=admission.now(),
            )
            return
        rejections.record_rejections(
            *(admission.gateway.pk, self._incoming.path, rejected),
            withheld=withheld,
            uncounted=1,
        )


def rejection_from_error(error: APIException) -> RejectedItem:
    """Return an error as a rejected item: one call, or a body that cannot be split into items."""
    _, body, _ = error_answer(error)
    # Errors of single items carry these; an error of the whole body has none of them.
    where = {name: getattr(error, name, None) for name in ("index", "transaction_id", "field")}
    told = ItemRejection(**where, code=body.code, message=body.message)
    return RejectedItem(told, getattr(error, "key", None), getattr(error, "text", None))


class DatabaseTime:
    """The time that one POST may wait for the database, however long its sender takes."""

    def __init__(self) -> None:
        self._left = DATABASE_DEADLINE_SECONDS

    def perform(self, step: Step) -> Any:
        """Run a step in this thread, within what is left of the time."""
        began = time.monotonic()
        try:
            with database_deadline(max(0.0, self._left)):
                return step()
        finally:
            self._left -= time.monotonic() - began

    def spend(self, seconds: float) -> None:
        """Count a wait that no step is to blame for, such as for a free thread."""
        self._left -= seconds


def run_intake(intake: Intake) -> Answer:
    """Run all steps of a POST in this thread."""
    return run_steps(intake.steps(), DatabaseTime().perform)
