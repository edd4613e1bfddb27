"""The views of the site, plain and async."""

import asyncio

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path, reverse
from django.views.decorators.csrf import csrf_exempt
from polls.models import Question

ended: list[str] = []


def index(request):
    return JsonResponse(
        {
            "path": request.path,
            "info": request.path_info,
            "url": request.build_absolute_uri(reverse("questions")),
            "from": request.META["REMOTE_ADDR"],
        }
    )


def questions(request):
    return JsonResponse({"texts": [question.text for question in Question.objects.all()]})


async def async_questions(request):
    texts = [question.text async for question in Question.objects.all()]
    return JsonResponse({"texts": texts})


@csrf_exempt
def upload(request):
    return JsonResponse({name: file.size for name, file in request.FILES.items()})


@csrf_exempt
async def size(request):
    return HttpResponse(str(len(request.body)))


def file(request):
    return FileResponse(open(__file__, "rb"))


def numbers(request):
    return StreamingHttpResponse(f"{number}\n" for number in range(1000))


async def ticks(request):
    async def lines():
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)
        finally:
            ended.append("ticks")

    return StreamingHttpResponse(lines())


async def get_ended(request):
    return JsonResponse(ended, safe=False)


def fail(request):
    raise RuntimeError("no such luck")


urlpatterns = [
    path("", index),
    path("admin/", admin.site.urls),
    path("questions/", questions, name="questions"),
    path("async-questions/", async_questions),
    path("upload", upload),
    path("size", size),
    path("file", file),
    path("numbers", numbers),
    path("ticks", ticks),
    path("ended", get_ended),
    path("fail", fail),
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
]
