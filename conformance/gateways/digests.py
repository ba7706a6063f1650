"""A gateway that holds digests of valid keys, which the agent writes, and asks revcred nothing."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from conformance.gateways.callers import Key
from conformance.gateways.cases import (
    FORGED,
    FORGED_LINES,
    Call,
    Case,
    Outcome,
    make_call,
    wrong_secrets,
)
from conformance.gateways.recipes import Places
from metering.agent import revcred_agent
from revcred.launcher.web import WEB_HOST

SYNC_SECONDS = 60.0
FELT_SECONDS = 3.0  # the agent asks once a second, and nginx reloads


def wrong_credential(outcome: Outcome) -> str:
    """Return what is wrong with the credential that the backend was told of."""
    found = outcome.values("X-Revcred-Credential")
    if len(found) != 1 or not found[0].startswith("cred_"):
        return f"X-Revcred-Credential at the backend: {found}"
    return wrong_secrets(outcome)


FORGED_CREDENTIAL = (("X-Revcred-Credential", FORGED),)
CASES = (
    Case(name="good key", call=Call(key=Key.GOOD), status=200, is_wrong=wrong_credential),
    Case(
        name="good key, forged credential",
        call=Call(key=Key.GOOD, headers=FORGED_CREDENTIAL),
        status=200,
        is_wrong=wrong_credential,
    ),
    Case(name="no key, forged headers", call=Call(headers=FORGED_LINES), status=401),
    *(
        Case(name=f"{key.name.lower()} key", call=Call(key=key), status=401)
        for key in (Key.UNKNOWN, Key.SUSPENDED, Key.REVOKED, Key.EXPIRED)
    ),
)


def write_map(places: Places) -> None:
    """Write the digests of the keys that are valid, before the gateway starts."""
    _run(_command(places, "--apply"))


@contextmanager
def kept_up(places: Places, reload: Sequence[str]) -> Iterator[None]:
    """Let the agent write what changes, and have the gateway read it."""
    command = _command(places, "--apply", "--every", "1", "--reload", " ".join(reload))
    environment = {"EXPORT_KEY": places.export_key}
    with (places.directory / "sync.log").open("ab") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output, env=environment)  # noqa: S603
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def seconds_until_refused(places: Places, key: str, revoke: Callable[[], None]) -> float:
    """Revoke a key that comes through, and return after how long it does not any longer."""
    revoke()
    began = time.monotonic()
    while make_call(places.port, Call(key=key)).status == HTTPStatus.OK:
        if time.monotonic() > began + 2 * FELT_SECONDS:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def _command(places: Places, *more: str) -> list[str]:
    directory = places.directory
    own = directory.with_name(f"sync-of-{directory.name}")
    own.mkdir(exist_ok=True)
    token = own / "token"
    token.write_text(places.token)
    token.chmod(0o600)
    return [
        *(sys.executable, str(Path(revcred_agent.__file__)), "sync", "nginx"),
        *(str(directory / "keys.map"), "--url", f"http://{WEB_HOST}:{places.revcred_port}"),
        *("--token-file", str(token), "--state", str(own / "state"), *more),
    ]


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=SYNC_SECONDS)  # noqa: S603
