"""Our caches with a `client`.

django-redis's tests ask it which of django-redis's clients and serializers they run with. It is none of them,
so no test is left out.
"""

import os

import redis

import nearcache.django


class Client:
    _serializer = None

    def get_client(self, write=True):
        return redis.Redis.from_url(os.environ["NEARCACHE_SERVER"])


class LocalCache(nearcache.django.LocalCache):
    client = Client()


class TieredCache(nearcache.django.TieredCache):
    client = Client()
