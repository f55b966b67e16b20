"""The objects that take the place of a cached function, and of a method that is bound to its object.

Both are `functools.partial` objects, for two reasons: calling one takes a third of the time of an object with
``__call__``, and `inspect.iscoroutinefunction` looks through a `partial` in every version of Python. Their
types are in cached_function.pyi.
"""

import functools
import inspect
import types


class _BoundCached(functools.partial):
    """The methods of `BoundCachedFunction` and `BoundCachedCoroutineFunction`."""

    __slots__ = ()

    # Like `types.MethodType`, it is made of a cached function and an object. `_Cached.__get__` passes the
    # generated function instead, which is faster to call.

    @property
    def __func__(self):
        """The cached function."""
        return getattr(self.func, "_cached_function", self.func)

    @property
    def __self__(self):
        """The object, or of a classmethod the class."""
        return self.args[0]

    @property
    def __signature__(self):
        """The signature of the function without its first parameter, for `inspect.signature`."""
        return inspect.signature(types.MethodType(self.__func__, self.args[0]))

    @property
    def key(self):
        """`CachedFunction.key` of this object."""
        return types.MethodType(self.__func__.key, self.args[0])

    @property
    def invalidate(self):
        """`CachedFunction.invalidate` of this object."""
        return types.MethodType(self.__func__.invalidate, self.args[0])

    @property
    def refresh(self):
        """`CachedFunction.refresh` of this object."""
        return types.MethodType(self.__func__.refresh, self.args[0])

    @property
    def uncached(self):
        """`CachedFunction.uncached` of this object."""
        return types.MethodType(self.__func__.uncached, self.args[0])

    def __getattr__(self, name):
        """Returns an attribute of the function, as other methods do."""
        return getattr(self.__func__, name)

    def __eq__(self, other):
        """Returns whether it is the same method of the same object."""
        if not isinstance(other, _BoundCached):
            return NotImplemented
        return self.__func__ is other.__func__ and self.args[0] is other.args[0]

    def __hash__(self):
        """Returns a hash of what `__eq__` compares."""
        return hash((id(self.__func__), id(self.args[0])))

    def __reduce__(self):
        """Pickles the method by its object and its name, as other methods."""
        return getattr, (self.args[0], self.__func__.__name__)

    def __repr__(self):
        """Returns a text with the names of the method and the object."""
        return f"<bound cached method {self.__func__.__qualname__} of {self.args[0]!r}>"


class BoundCachedFunction(_BoundCached):
    """A `CachedFunction` that is bound to an object, as its method."""

    __slots__ = ()


class BoundCachedCoroutineFunction(_BoundCached):
    """A `CachedCoroutineFunction` that is bound to an object, as its method."""

    __slots__ = ()


class _Cached(functools.partial):
    """The methods of `CachedFunction` and `CachedCoroutineFunction`."""

    def __new__(cls, decorated, generated):
        """Makes the object from what was decorated, and the generated functions by their names."""
        self = super().__new__(cls, generated["call"])
        function = decorated.__func__ if isinstance(decorated, (staticmethod, classmethod)) else decorated
        functools.update_wrapper(self, function)
        # Set after the attributes of the function, which may be a cached function itself.
        self.key = generated["key"]
        self.invalidate = generated["invalidate"]
        self.refresh = generated["refresh"]
        self.uncached = function
        self._decorated = decorated
        self._binds = not isinstance(decorated, (staticmethod, classmethod))
        # The documentation and module of a bound method are those of its class: attributes of its own would
        # have to be set at every access to the method.
        names = {"__slots__": (), "__doc__": self.__doc__, "__module__": self.__module__}
        self._bound = type(cls._bound.__name__, (cls._bound,), names)
        self.func._cached_function = self
        return self

    def __get__(self, instance, owner=None):
        """Returns the method that is bound to an object, or to a class if it is a classmethod."""
        if self._binds:
            return self if instance is None else self._bound(self.func, instance)
        if isinstance(self._decorated, staticmethod):
            return self
        return self._bound(self.func, type(instance) if owner is None else owner)

    def __reduce__(self):
        """Pickles the function by its name, as other functions."""
        return self.__qualname__

    def deconstruct(self):
        """Lets Django write the function into a migration, for example as the default of a field.

        Django writes a call. This one returns the function that its argument names, also if that is no longer
        decorated. A `functools.partial` would differ from the function in the model, so that each
        ``makemigrations`` would make another migration.
        """
        return "copy.copy", (self.func,), {}

    def __repr__(self):
        """Returns a text with the name of the function."""
        return f"<cached function {self.__module__}.{self.__qualname__} at {id(self):#x}>"


class CachedFunction(_Cached):
    """A function whose results are kept in a cache. Made by `cached`.

    - ``key(*args, **kwargs)`` returns the key for these arguments.
    - ``invalidate(*args, **kwargs)`` deletes the result for them; returns whether there was one.
    - ``refresh(*args, **kwargs)`` computes the result now, stores it and returns it.
    - ``uncached`` is the function itself.

    A method has them bound: ``obj.method.key(1)``.
    """

    _bound = BoundCachedFunction


class CachedCoroutineFunction(_Cached):
    """A coroutine function whose results are kept in a cache. Made by `cached`.

    As a `CachedFunction`, except that ``invalidate`` and ``refresh`` are coroutine functions, too.
    """

    _bound = BoundCachedCoroutineFunction
