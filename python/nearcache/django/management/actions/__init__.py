"""The actions of ``manage.py nearcache``, one in each module, as a function ``run``.

``stats``, ``clear`` and ``verify`` take several caches; ``keys``, ``get`` and ``delete`` take one; ``files``
takes none. Each ignores the options that Django adds to every command.
"""
