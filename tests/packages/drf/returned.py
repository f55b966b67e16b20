"""What DRF's serializers return, stored in the default cache: it comes out as pickle would return it."""

import pickle

import pytest
from django.core.cache import caches
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import ReturnDict, ReturnList


class Line(serializers.Serializer):
    title = serializers.CharField()
    price = serializers.DecimalField(max_digits=6, decimal_places=2, coerce_to_string=False)


LINES = [{"title": "one", "price": 1}, {"title": "two", "price": "2.50"}]


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(Line(LINES[0]).data, ReturnDict), (Line(LINES, many=True).data, ReturnList)],
    ids=["ReturnDict", "ReturnList"],
)
def test_data_of_a_serializer(returned, kind):
    assert type(returned) is kind
    cache = caches["default"]
    cache.set("returned", returned)
    got = cache.get("returned")
    pickled = pickle.loads(pickle.dumps(returned, pickle.HIGHEST_PROTOCOL))
    assert type(got) is type(pickled)
    assert got == pickled == returned
    assert [type(part) for part in got] == [type(part) for part in pickled]
