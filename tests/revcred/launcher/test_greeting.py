import json
from pathlib import Path

from revcred.launcher.greeting import greeting_text

URL = "http://127.0.0.1:8000"


def test_it_says_where_as_whom_and_what_to_try(tmp_path: Path) -> None:
    demo = tmp_path / "demo.json"
    demo.write_text(
        json.dumps(
            {
                "admin": {"email": "ada@example.com", "password": "open"},
                "subscribers": [{"email": "bob@example.com", "password": "sesame"}],
                "gateway": {"name": "edge", "token": "rvg_1"},
                "credentials": [{"external_key": "k-1"}, {"external_key": "k-2"}],
            }
        )
    )
    text = greeting_text(URL, demo, seconds=4.23)
    assert "revcred is ready after 4.2 s" in text
    assert "Admin       ada@example.com  password open" in text
    assert "Subscriber  bob@example.com  password sesame" in text
    assert f"curl -sS {URL}/v1/transactions -H 'Authorization: Bearer rvg_1'" in text
    assert '"key": "k-1"' in text


def test_without_demo_data_it_says_where(tmp_path: Path) -> None:
    text = greeting_text(URL, tmp_path / "demo.json", seconds=1)
    assert f"API         {URL}/v1/docs/" in text
    assert "curl" not in text
