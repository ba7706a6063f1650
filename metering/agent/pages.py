"""Addresses that hand out the agent: the program itself, and its digest to compare it with."""

import hashlib
from functools import cache
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from metering.agent import revcred_agent

AGENT_PATH, AGENT_DIGEST_PATH = "/agent", "/agent.sha256"
FILE_NAME = "revcred-agent"


@cache
def agent_program() -> bytes:
    """Return the program as it is handed out."""
    return Path(revcred_agent.__file__).read_bytes()


@cache
def agent_digest() -> str:
    """Return the SHA-256 of the program, in hexadecimal digits."""
    return hashlib.sha256(agent_program()).hexdigest()


@require_safe
def agent_view(request: HttpRequest) -> HttpResponse:
    """Answer the program. It holds no secret, and whoever runs it needs a token."""
    headers = {
        "Content-Disposition": f'attachment; filename="{FILE_NAME}"',
        "X-Content-SHA256": agent_digest(),
    }
    return HttpResponse(
        agent_program(), content_type="text/x-python; charset=utf-8", headers=headers
    )


@require_safe
def agent_digest_view(request: HttpRequest) -> HttpResponse:
    """Answer the digest in the form that `sha256sum --check` reads."""
    return HttpResponse(f"{agent_digest()}  {FILE_NAME}\n", content_type="text/plain")
