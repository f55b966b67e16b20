from django.http import HttpResponse
from waffle import flag_is_active


def flag_in_view(request):
    return HttpResponse("on" if flag_is_active(request, "myflag") else "off")


def flag_in_view_readonly(request):
    return HttpResponse("on" if flag_is_active(request, "myflag", read_only=True) else "off")
