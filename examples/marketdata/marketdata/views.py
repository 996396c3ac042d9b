"""The page, and the counters it shows."""

import peneus
from django.http import JsonResponse
from django.shortcuts import render

from marketdata.feed import INSTRUMENTS


def page(request):
    return render(request, "page.html", {"instruments": list(INSTRUMENTS)})


def stats(request):
    return JsonResponse(peneus.stats())
