"""Two addresses."""

from django.urls import path

from marketdata.views import page, stats

urlpatterns = [path("", page), path("stats/", stats)]
