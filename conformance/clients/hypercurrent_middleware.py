"""hypercurrent-django: an application's own requests, metered by its middleware."""

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from telling import ADDRESS, KEY, TOKEN, call

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "hypercurrentdjango.middleware.HyperCurrentMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    HYPERCURRENT_API_KEY=TOKEN,
    HYPERCURRENT_API_URL=f"{ADDRESS}/meter/v1/api",
)
django.setup()


def orders(request: HttpRequest) -> HttpResponse:
    return HttpResponse("One, two, three.", status=201 if request.method == "POST" else 200)


urlpatterns = [path("orders", orders)]
client = Client(headers={"clientId": KEY, "user-agent": "curl/8"})

with call("GET", {"method": "GET", "path": "/orders"}, status=200, response_bytes=16):
    client.get("/orders")

with call("POST", {"method": "POST"}, path="/orders", status=201, response_bytes=16):
    client.post("/orders", {"lines": [1, 2]}, content_type="application/json")

with call("nothing there", {"path": "/nowhere"}, status=404):
    client.get("/nowhere")
