from django.contrib import admin
from django.urls import include, path

from test_app import views

urlpatterns = [
    path("flag_in_view", views.flag_in_view, name="flag_in_view"),
    path("flag_in_view_readonly", views.flag_in_view_readonly, name="flag_in_view_readonly"),
    path("", include("waffle.urls")),
    path("admin/", admin.site.urls),
]
