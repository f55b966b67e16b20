from django.urls import path
from health_check.views import HealthCheckView

CHECKS = [("health_check.Cache", {"alias": alias}) for alias in ("default", "other", "no-such-alias")]

urlpatterns = [
    path("health/", HealthCheckView.as_view(checks=CHECKS[:2])),
    path("health/broken/", HealthCheckView.as_view(checks=CHECKS)),
]
