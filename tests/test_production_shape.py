"""What an operator copies and starts, held together with what the settings ask for."""

import ast
import os
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml
from django.urls import reverse

from metering.api.registered_doors import DOORS

ROOT = Path(__file__).parent.parent
SERVERS = ("doors", "pages", "lists")  # of gateways, people and lists
ONLY_FOR_COMPOSE = {"LISTEN"}


def names(pattern, file):
    return set(re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE))


def test_every_setting_has_a_line_in_the_example():
    asked_for = names(r'\benv(?:\.\w+)?\(\s*"(\w+)"', "revcred/settings.py")

    assert names(r"^#?([A-Z_]+)=", ".env.example") == asked_for | ONLY_FOR_COMPOSE


def test_the_example_says_every_default_of_the_settings():
    """A line that is commented out promises what counts without it."""
    settings = (ROOT / "revcred/settings.py").read_text()
    defaults = dict(re.findall(r'env\.\w+\("(\w+)", default="?([\w@:/.]+)', settings))
    example = dict(
        re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    )

    for name in example.keys() & defaults.keys():
        assert example[name].lower() == defaults[name].replace("_", "").lower(), name


def test_only_nginx_is_reached_from_outside():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]


def test_nginx_reaches_no_store():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    networks = {name: set(service["networks"]) for name, service in services.items()}

    assert networks["nginx"].isdisjoint(networks["postgres"] | networks["valkey"])
    assert all(networks["nginx"] & networks[name] for name in SERVERS)


def test_each_service_gets_the_secrets_it_reads_and_no_others():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())

    for name, service in compose["services"].items():
        said = repr([service.get("environment"), service.get("command")])
        assert set(service.get("secrets", ())) == set(re.findall(r"/run/secrets/(\w+)", said)), name
    with_owner = [
        name
        for name, service in compose["services"].items()
        if "migration_database_url" in service.get("secrets", ())
    ]
    assert with_owner == ["migrate"]
    used = {secret for each in compose["services"].values() for secret in each.get("secrets", ())}
    assert compose["secrets"].keys() == used


def test_secrets_are_settings():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    asked_for = names(r'\benv(?:\.\w+)?\(\s*"(\w+)"', "revcred/settings.py")

    for service in compose["services"].values():
        if service["image"] == "revcred":
            files = [name for name in service["environment"] if name.endswith("_FILE")]
            unknown = (
                {name.removesuffix("_FILE") for name in files} - asked_for - {"WORKER_HEARTBEAT"}
            )
            assert unknown == set()


def test_every_service_has_as_few_capabilities_as_it_can():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    assert [name for name, service in services.items() if service.get("cap_drop") != ["ALL"]] == []


def test_one_image_runs_every_process():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    ours = {name for name, service in services.items() if service["image"] == "revcred"}
    assert ours == {"doors", "pages", "lists", "worker", "uploads", "clock", "migrate"}


def test_nginx_lets_lists_through_that_are_larger_than_what_gateways_post():
    conf = (ROOT / "deploy/nginx.conf").read_text()
    places = re.findall(r"location ~ (\S+) \{([^}]*)\}", conf)
    (lists,) = [re.compile(place) for place, what in places if "client_max_body_size 0;" in what]

    assert lists.search(reverse("api:uploads"))
    assert lists.search(reverse("admin:revcred_upload_add"))
    assert not lists.search(reverse("api:upload", args=[1]))
    assert not lists.search("/v1/transactions")


def test_nginx_gives_every_door_the_limits_of_gateways():
    locations = re.findall(
        r"location (~ )?(\S+) \{([^}]*)\}", (ROOT / "deploy/nginx.conf").read_text()
    )
    for_gateways = [
        pattern if is_pattern else re.escape(pattern)
        for is_pattern, pattern, rules in locations
        if "client_body_buffer_size 1m" in rules
    ]

    paths = {path for door in DOORS for path in door.paths}
    assert [path for path in paths if not any(re.match(each, path) for each in for_gateways)] == []


@pytest.mark.parametrize("name", SERVERS)
def test_each_server_believes_nginx_alone(name):
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    nginx, server = compose["services"]["nginx"], compose["services"][name]

    address = nginx["networks"]["edge"]["ipv4_address"]
    assert server["environment"]["TRUSTED_PROXIES"] == address
    assert list(nginx["networks"]) == ["edge"]
    assert "edge" in server["networks"]
    (subnet,) = compose["networks"]["edge"]["ipam"]["config"]
    assert ip_address(address) in ip_network(subnet["subnet"])
    assert address != subnet["gateway"]


def test_django_has_nothing_against_these_settings_in_production():
    environment = os.environ | {
        "ENVIRONMENT": "production",
        "SECRET_KEY": "a-key-of-more-than-fifty-characters-0123456789-abcdefghij",
    }
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level=WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def options_with(url):
    script = "from revcred.settings import DATABASES; print(DATABASES['default']['OPTIONS'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "DATABASE_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ast.literal_eval(done.stdout)


def test_of_several_servers_the_primary_is_looked_for_in_any_order():
    wanted = {"target_session_attrs": "read-write", "load_balance_hosts": "random"}

    assert options_with("postgres://me:x@a:5432,b:5432/revcred").items() >= wanted.items()
    assert options_with("postgres://me@/revcred?host=/a,/b&port=1,2").items() >= wanted.items()
    own = "&target_session_attrs=primary"
    assert (
        options_with(f"postgres://me@/revcred?host=/a,/b{own}")["target_session_attrs"] == "primary"
    )
    assert not options_with("postgres://me:x@a/revcred").keys() & wanted.keys()
