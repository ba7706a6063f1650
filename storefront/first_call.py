"""How a first call with a key is made, and what became of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from metering.customer_calls import (
    MAX_CLOCK_LEAD,
    CallFilter,
    ListedCall,
    SearchTookTooLong,
    list_calls,
)
from metering.ledger.scope import LedgerScope
from metering.models.transactions import QuarantinedQuerySet
from revcred.models import ExternalKey, Gateway

UNKNOWN_ADDRESS = "https://YOUR-API-ADDRESS/"
FIRST_CALL_PERIOD = timedelta(days=7)  # in which the latest call is looked for

# Where each language puts the key: as `key_place` of a gateway says. {name} is `key_name`.
CURL_KEYS = {
    Gateway.KeyPlace.HEADER: '-H "{name}: $API_KEY"',
    Gateway.KeyPlace.BEARER: '-H "Authorization: Bearer $API_KEY"',
    Gateway.KeyPlace.BASIC: '-u "$API_KEY:"',
}
PYTHON_HEADERS = {
    Gateway.KeyPlace.HEADER: '"{name}": key',
    Gateway.KeyPlace.BEARER: '"Authorization": f"Bearer {{key}}"',
    Gateway.KeyPlace.BASIC: (
        '"Authorization": "Basic " + b64encode(f"{{key}}:".encode()).decode()'
    ),
}
JAVASCRIPT_HEADERS = {
    Gateway.KeyPlace.HEADER: '"{name}": key',
    Gateway.KeyPlace.BEARER: "Authorization: `Bearer ${{key}}`",
    Gateway.KeyPlace.BASIC: "Authorization: `Basic ${{btoa(`${{key}}:`)}}`",
}
GO_HEADERS = {
    Gateway.KeyPlace.HEADER: 'request.Header.Set("{name}", key)',
    Gateway.KeyPlace.BEARER: 'request.Header.Set("Authorization", "Bearer "+key)',
    Gateway.KeyPlace.BASIC: 'request.SetBasicAuth(key, "")',
}

PYTHON = """\
import os
{imports}from urllib.request import Request, urlopen

key = os.environ["API_KEY"]
request = Request({address}{headers})
with urlopen(request) as response:
    print(response.status, response.read().decode())
"""
JAVASCRIPT = """\
const key = process.env.API_KEY;
const response = await fetch({address}{headers});
console.log(response.status, await response.text());
"""
GO = """\
package main

import (
\t"fmt"
\t"io"
\t"net/http"
{imports}\t"os"
)

func main() {{
\tkey := os.Getenv("API_KEY")
\trequest, err := http.NewRequest("GET", {address}, nil)
\tif err != nil {{
\t\tpanic(err)
\t}}
{headers}\tresponse, err := http.DefaultClient.Do(request)
\tif err != nil {{
\t\tpanic(err)
\t}}
\tdefer response.Body.Close()
\tbody, _ := io.ReadAll(response.Body)
\tfmt.Println(response.Status, string(body))
}}
"""


@dataclass(frozen=True)
class CodeSample:
    """A first call in one language. The key is in the environment, never in the text."""

    language: str
    code: str


def code_samples(gateway: Gateway | None) -> list[CodeSample]:
    """Return a first call by way of the gateway; None: of an address that is not known.

    The address and the key's name have no characters that would end a text of these languages:
    validators of the gateway see to that.
    """
    gateway = gateway or Gateway()
    address = gateway.public_url or UNKNOWN_ADDRESS
    place = Gateway.KeyPlace(gateway.key_place)
    name = gateway.key_name
    if place is Gateway.KeyPlace.QUERY:
        return _samples_with_query(f"{address}?{name}=")
    python_imports = "from base64 import b64encode\n" if place is Gateway.KeyPlace.BASIC else ""
    python_headers = PYTHON_HEADERS[place].format(name=name)
    javascript_headers = JAVASCRIPT_HEADERS[place].format(name=name)
    return [
        CodeSample("curl", f"curl -i '{address}' \\\n  {CURL_KEYS[place].format(name=name)}\n"),
        CodeSample(
            "Python",
            PYTHON.format(
                imports=python_imports,
                address=f'"{address}"',
                headers=f", headers={{{python_headers}}}",
            ),
        ),
        CodeSample(
            "JavaScript",
            JAVASCRIPT.format(
                address=f'"{address}"', headers=f", {{\n  headers: {{ {javascript_headers} }},\n}}"
            ),
        ),
        CodeSample(
            "Go",
            GO.format(
                imports="",
                address=f'"{address}"',
                headers=f"\t{GO_HEADERS[place].format(name=name)}\n",
            ),
        ),
    ]


def _samples_with_query(address: str) -> list[CodeSample]:
    """Return samples that add the key to the end of the address."""
    return [
        CodeSample("curl", f'curl -i "{address}$API_KEY"\n'),
        CodeSample(
            "Python",
            PYTHON.format(
                imports="from urllib.parse import quote\n",
                address=f'"{address}" + quote(key)',
                headers="",
            ),
        ),
        CodeSample(
            "JavaScript",
            JAVASCRIPT.format(address=f"`{address}${{encodeURIComponent(key)}}`", headers=""),
        ),
        CodeSample(
            "Go",
            GO.format(
                imports='\t"net/url"\n',
                address=f'"{address}"+url.QueryEscape(key)',
                headers="",
            ),
        ),
    ]


def gateway_of_first_call(key: ExternalKey) -> Gateway | None:
    """Return the gateway at which the key counts and whose address is known, or None."""
    if key.gateway is not None:
        return key.gateway
    now_in_use = Gateway.objects.exclude(public_url="").filter(suspended_at=None)
    return now_in_use.order_by("name").first()


def latest_call_with(
    key: ExternalKey, scope: LedgerScope, uncounted: QuarantinedQuerySet, now: datetime
) -> ListedCall | None:
    """Return the latest call with the key, counted or not, or None if there is none yet."""
    wanted = CallFilter(
        start=now - FIRST_CALL_PERIOD,
        end=now + MAX_CLOCK_LEAD,
        credential=key.credential_id,
        key=key.fingerprint,
    )
    try:
        found = list_calls(scope, uncounted, wanted, after=None, rows=1)
    except SearchTookTooLong:
        return None
    return found[0] if found else None
