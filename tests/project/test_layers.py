"""The modules of ``nearcache._core`` form layers: a module imports only from layers below its own."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "crates" / "nearcache-python" / "src"

# From the bottom up. A module stands for its folder, too. Modules in one line do not know each other. The
# `mod.rs` of a folder is above the folder's other files, so they do not import from it.
LAYERS = {
    "": """
        nonblocking_once memory random system strings
        objects interpreter
        errors django classes
        panics arguments
        numbers
        instance clock
        keys glob expiry values
        settings
        context
        store
        open_cache
        operations scan
        backend
        tiered_backend
        proxy files
    """,
    "backend": "attributes",
    "operations": """
        delete expire get get_or_set has_key incr lock set ttl whole_store
        tiered
    """,
    "scan": "key_names",
    "store": """
        near_copy remote_stats weight
        flights
        stats
        entry_store
        local shared
        registry
        tiered
    """,
    "store/flights": """
        counts failure process_leader
        machine
        flight
        wait
        process
    """,
    "store/shared": """
        log
        file object_cache
        access
        flight_file get incr lock near_copies
        flights
    """,
    "store/tiered": """
        costs failure flights_file plan requests wire
        near_shared
        near
        tiered_store
        names
        completions flight_lock info reads stale_value stats wait writes
        complete early expiry flights acquire_flight_lock open scan
        locks
    """,
    "values": """
        counted_names pickle sizes timing
        atoms
        bytes graph
    """,
    "values/graph": """
        enums flat stop
        by_reference node
        answer recorder
        builder collections django pickle_buffer
        state
        plain_classes reduce
    """,
    "values/bytes": """
        kinds large_int
        text lock
        tree
        encode testing
        decode
    """,
    "values/bytes/tree": """
        format reader types writer
        builder names marks
        parser encode
        build encode_scalar
    """,
    "proxy": """
        python
        method
        thread_cache
        handler
        subclasses
        repeated_lookup attribute
    """,
}

ADVICE = (
    "Move what is needed into a lower module, or pass it as an argument. If a new module is needed, add it "
    f"to LAYERS in {Path(__file__).name} and to the table in lib.rs."
)
INLINE = re.compile(r"(?<![\w$])(?:crate|super)::[\w:]+")
USE = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?use ((?:crate|super)::[^;]+);", re.MULTILINE)


def levels(folder):
    """Return the level of each module of a folder; the lowest is 0."""
    rows = LAYERS[folder].strip().splitlines()
    return {name: level for level, row in enumerate(rows) for name in row.split()}


def files():
    """Return the source files as paths without suffix, such as ``store/shared/get``, but for ``lib``."""
    found = sorted(path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.rs"))
    return [path for path in found if path != "lib"]


def module_of(file):
    return file.removesuffix("/mod")


def folders_of(module):
    """Return the folders that a module is in, each with the part of the path that is in it."""
    parts = module.split("/")
    return [("/".join(parts[:depth]), parts[depth]) for depth in range(len(parts))]


def split_list(text):
    """Split the list of a `use` at the commas outside of inner braces."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "," and not depth:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def expand(path):
    """Return the paths that a `use` stands for, as lists of names."""
    head, brace, rest = path.partition("{")
    names = [name for name in re.split(r"::", head.strip()) if name]
    if not brace:
        return [[name.split(" as ")[0] for name in names]]
    return [names + tail for item in split_list(rest.rstrip()[:-1]) for tail in expand(item)]


def imports(file):
    """Return the modules or items that a file imports, as paths from the crate's root."""
    text = re.sub(r"//.*", "", (SOURCE / f"{file}.rs").read_text())
    # What an inner module imports with `super` is the file's own.
    text = re.sub(r"\nmod \w+ \{\n.*?\n\}\n", "", text, flags=re.DOTALL)
    uses = [match[1] for match in USE.finditer(text)]
    paths = INLINE.findall(USE.sub("", text))
    found = []
    for path in [*uses, *paths]:
        for names in expand(re.sub(r"\s+", " ", path)):
            ups = names.count("super")
            base = [] if names[0] == "crate" else module_of(file).split("/")[:-ups]
            found.append([*base, *[name for name in names if name not in {"crate", "super", "self"}]])
    return found


def known_module(path):
    """Return the module that a path is in, or None if that is the crate's root."""
    modules = {module_of(file) for file in files()}
    for length in range(len(path), 0, -1):
        if "/".join(path[:length]) in modules:
            return "/".join(path[:length])
    return None


@pytest.mark.parametrize("file", files())
def test_every_file_is_in_a_layer(file):
    for folder, name in folders_of(module_of(file)):
        assert folder in LAYERS, f"{folder} is not in LAYERS. {ADVICE}"
        assert name in levels(folder), f"{name} is not in LAYERS[{folder!r}]. {ADVICE}"


def test_every_layer_names_files():
    modules = {module_of(file) for file in files()}
    named = {f"{folder}/{name}".lstrip("/") for folder in LAYERS for name in levels(folder)}
    assert named == modules, "LAYERS names modules that are gone, or misses new ones"


def complaint(file, path):
    """Return what is wrong with an import of a file, or None."""
    module, target = module_of(file), known_module(path)
    imported = "::".join(path)
    if target is None or target == module or target.startswith(f"{module}/"):
        # Its own items, or those of its folder's files, which are below it.
        return None
    if module.startswith(f"{target}/"):
        return f"{file}.rs imports {imported} from the mod.rs of its own folder. {ADVICE}"
    # Compare where the two paths part.
    pairs = zip(folders_of(module), folders_of(target), strict=False)
    folder, own, other = next((folder, own, other) for (folder, own), (_, other) in pairs if own != other)
    if levels(folder)[other] < levels(folder)[own]:
        return None
    return f"{file}.rs imports {imported}, but {other} is not below {own}. {ADVICE}"


@pytest.mark.parametrize("file", files())
def test_no_file_imports_from_its_own_layer_or_above(file):
    complaints = [complaint(file, path) for path in imports(file)]
    assert [found for found in complaints if found] == []


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("keys", "backend::Backend"),
        ("keys", "expiry::after"),
        ("context", "store::Store"),
        ("store/shared/file", "store::shared::access::SharedStore"),
        ("store/shared/file", "store::registry"),
        ("scan/key_names", "scan::KeyIterator"),
        ("values/bytes/mod", "values::copy_out::copy_out"),
    ],
)
def test_arrow_upward_is_found(file, path):
    assert complaint(file, path.split("::"))


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("backend/mod", "keys::encode"),
        ("backend/mod", "backend::attributes::set_attribute"),
        ("store/shared/mod", "store::entry_store::EntryStore"),
        ("values/bytes/encode", "values::pickle::dumps"),
    ],
)
def test_arrow_downward_is_allowed(file, path):
    assert complaint(file, path.split("::")) is None


def test_lists_in_braces_are_understood():
    assert expand("crate::a::{self, b::{C, D}, e}") == [
        ["crate", "a", "self"],
        ["crate", "a", "b", "C"],
        ["crate", "a", "b", "D"],
        ["crate", "a", "e"],
    ]
