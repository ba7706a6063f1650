import hashlib
from pathlib import Path

from metering.agent import revcred_agent


def test_hands_out_the_program_with_its_digest(client):
    answer = client.get("/agent")
    digest = client.get("/agent.sha256")

    assert answer.content == Path(revcred_agent.__file__).read_bytes()
    assert answer["Content-Disposition"] == 'attachment; filename="revcred-agent"'
    assert answer["X-Content-SHA256"] == hashlib.sha256(answer.content).hexdigest()
    assert digest.content.decode() == f"{answer['X-Content-SHA256']}  revcred-agent\n"


def test_needs_no_session_and_takes_nothing(client):
    assert "Set-Cookie" not in client.get("/agent").headers
    assert client.post("/agent").status_code == 405
