from django.urls import include, path

from bench.textbook.views import Calls

urlpatterns = [path("v1/transactions", Calls.as_view()), path("", include("revcred.urls"))]
