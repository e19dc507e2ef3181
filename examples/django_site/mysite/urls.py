"""The pages of this site: the notes, and Django's admin."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import path
from notes.views import index

urlpatterns = [
    path("", index),
    path("admin/", admin.site.urls),
    # Empty unless DEBUG is on: in production nginx serves what collectstatic gathered.
    *staticfiles_urlpatterns(),
]
