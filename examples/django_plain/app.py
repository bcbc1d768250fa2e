"""A Django project in one file: a view that streams, and the routes to resume and stop."""

import json

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from headwater import Headwater
from headwater.adapters.django import mount, stream_response

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],  # which leaves streams alone
)

hw = Headwater()


@csrf_exempt
def stream(request):
    return stream_response(hw, json.loads(request.body)["prompt"], request=request)


urlpatterns = [path("stream", stream), path("ai/", include(mount(hw)))]
wsgi, asgi = get_wsgi_application(), get_asgi_application()
