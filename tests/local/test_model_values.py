"""Instances of Django's models and querysets are returned as pickle would return them."""

import copy
import pickle

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import models

from support import pickle_hooks as hooks
from support.sample_values import describe


class Draft(models.Model):
    """Has functions of its own for pickling."""

    title = models.CharField(max_length=10)

    class Meta:
        app_label = "auth"
        managed = False

    def __getstate__(self):
        hooks.record("getstate")
        return {**super().__getstate__(), "more": [1]}

    def __setstate__(self, state):
        hooks.record("setstate")
        super().__setstate__(state)


class Slugged(models.Model):
    """Is made by a function of its own."""

    slug = models.SlugField()

    class Meta:
        app_label = "auth"
        managed = False

    def __reduce__(self):
        hooks.record("reduce")
        return Slugged, (self.pk, self.slug)


def users(count=3):
    return [User(pk=number, username=f"user{number}", email="a@example.org") for number in range(count)]


def with_relations():
    shared = ContentType(pk=1, app_label="auth", model="user")
    return [Permission(pk=number, codename=str(number), content_type=shared) for number in range(3)]


def deferred():
    names = ["id", "username"]
    return [User.from_db("default", names, [number, f"user{number}"]) for number in range(3)]


def with_one_state():
    instances = users()
    for instance in instances:
        instance._state = instances[0]._state
    return instances


def beside_their_states():
    instances = users()
    caches = [instance._state.fields_cache for instance in instances]
    return [*instances, *(instance._state for instance in instances), *caches]


def in_their_own_caches():
    instances = users()
    for instance in instances:
        instance._state.fields_cache["itself"] = instance
        instance.friends = instances
    return instances


def with_prefetched():
    instances = users()
    groups = [Group(pk=1, name="readers")]
    for instance in instances:
        instance._prefetched_objects_cache = {"groups": groups}
    return instances


def with_another_state():
    instances = users()

    class State(type(instances[0]._state)):
        pass

    globals()["State"] = State
    State.__qualname__ = "State"
    for instance in instances:
        instance._state.__class__ = State
    return instances


def with_functions_of_their_own():
    return [Draft(pk=1, title="a"), Draft(pk=2, title="b"), Slugged(pk=1, slug="a"), Slugged(pk=2, slug="b")]


def queryset():
    found = User.objects.filter(is_active=True, username__startswith="user").order_by("pk")
    found._result_cache = users()
    return found


def querysets_of_one_list():
    one, other = queryset(), queryset()
    other._result_cache = one._result_cache
    return [one, other, one]


def copied():
    return [copy.copy(user) for user in users()]


VALUES = [
    users,
    with_relations,
    deferred,
    with_one_state,
    beside_their_states,
    in_their_own_caches,
    with_prefetched,
    with_another_state,
    with_functions_of_their_own,
    queryset,
    querysets_of_one_list,
    copied,
]


def in_full(value):
    """Describe a value with the parts of instances that `describe` leaves out."""
    described, seen, waiting = [describe(value)], set(), [value]
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, models.QuerySet):
            waiting.append(part._result_cache)
        elif isinstance(part, models.Model):
            attributes = dict(vars(part))
            state = attributes.pop("_state", None)
            described.append((type(part), list(vars(part)), attributes.get("_django_version")))
            if state is not None:
                described.append((type(state), list(vars(state)), state.adding, state.db))
                waiting.append(state.fields_cache)
            waiting.append(attributes)
    return described


@pytest.mark.parametrize("make", VALUES, ids=lambda make: make.__name__)
def test_result_and_calls_are_those_of_pickle(cache, make):
    value = make()
    data, calls_at_dumps = hooks.recorded_calls(lambda: pickle.dumps(value, 5))
    expected, calls_at_loads = hooks.recorded_calls(lambda: pickle.loads(data))
    _, calls_at_set = hooks.recorded_calls(lambda: cache.set("key", value))
    got, calls_at_get = hooks.recorded_calls(lambda: cache.get("key"))
    assert (calls_at_set, calls_at_get) == (calls_at_dumps, calls_at_loads)
    assert in_full(got) == in_full(expected)


def test_states_are_not_shared_with_the_caller(cache):
    instances = with_relations()
    cache.set("key", instances)
    instances[0]._state.adding = False
    instances[0]._state.fields_cache.clear()
    first = cache.get("key")
    assert first[0]._state.adding
    assert first[0].content_type is first[1].content_type
    first[0]._state.fields_cache.clear()
    assert "content_type" in cache.get("key")[0]._state.fields_cache


def test_instance_of_a_queryset_can_be_changed_and_read_again(cache):
    cache.set("key", queryset())
    found = cache.get("key")
    found[0].username = "changed"
    assert cache.get("key")[0].username == "user0"
    assert found.query.order_by == ("pk",)


def test_memoryview_of_a_binary_field_is_kept(cache):
    instances = users()
    for instance in instances[1:]:
        instance.password = memoryview(b"abc")
    cache.set("key", instances)
    passwords = [instance.password for instance in cache.get("key")[1:]]
    assert [(type(each), bytes(each)) for each in passwords] == [(memoryview, b"abc")] * 2
