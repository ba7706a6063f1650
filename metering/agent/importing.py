"""Logs that lie on the server: the agent reads them, and the door takes them in this process."""

from collections.abc import Mapping
from functools import partial

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from rest_framework.exceptions import APIException

from metering.agent.revcred_agent import Answer, Target
from metering.api import bodies
from metering.api.backlog import backlog
from metering.api.dialects import Answer as DialectAnswer
from metering.api.dialects import GatewayPost
from metering.api.lines import LinesDialect
from metering.api.pipeline import DatabaseTime
from metering.inbox.intake import Steps, run_steps
from revcred.api.errors import DatabaseUnavailable
from revcred.models import Gateway


class DoorInProcess(Target):
    """The door for lines, for one gateway, without a token and without HTTP."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(f"The door for {gateway}")
        self._gateway = gateway
        self._dialect = LinesDialect()

    def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take lines in as if they had been posted, and answer alike."""
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            answer = run_steps(self._steps(address, body, lower), DatabaseTime().perform)
        except APIException as error:
            answer = self._dialect.answer_error(error, address)
        except (OperationalError, InterfaceError):
            answer = self._dialect.answer_error(DatabaseUnavailable(), address)
        finally:
            # Of this thread, of which nobody says when it ends.
            connection.close()
        encoded = self._dialect.encode(answer, headers=lower, gateway=None)
        named = {name.lower(): value for name, value in encoded.headers}
        return Answer(encoded.status, named, encoded.body)

    def _steps(self, address: str, body: bytes, headers: Mapping[str, str]) -> Steps[DialectAnswer]:
        yield partial(backlog.check, self._gateway.pk)
        post = GatewayPost(
            gateway=self._gateway,
            path=address,
            headers=headers,
            body=bodies.inflate_body(body, headers.get("content-encoding", "")),
            now=timezone.now(),
            token="",
        )
        return (yield from self._dialect.process(post))
