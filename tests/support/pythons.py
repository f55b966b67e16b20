"""Installs the missing interpreters of the test matrix: `make pythons`.

It installs uv's builds. Where those cannot be reached, it builds Debian's source packages into pyenv's
folder. A build takes about five minutes on two cores, and needs a Debian machine on which this user may
install packages.
"""

import argparse
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from matrix import PYENV_VERSIONS, PYTHONS, find_python

# The suite that has every supported version.
SUITE = "testing"
BUILD_DEPENDENCIES = (
    *("build-essential", "libssl-dev", "libffi-dev", "libsqlite3-dev"),
    *("zlib1g-dev", "libbz2-dev", "liblzma-dev", "libzstd-dev"),
)
TIMEOUT_SECONDS = 60


class UnavailableError(Exception):
    """An interpreter cannot be installed in this way; the message says why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"default: {' '.join(PYTHONS)}")
    missing = False
    for version in parser.parse_args().versions or PYTHONS:
        path = find_python(version) or get(version)
        print(f"Python {version}: {path or 'not available'}", flush=True)
        missing |= path is None
    return int(missing)


def get(version: str) -> str | None:
    """Install an interpreter; return its path, or None and print why not."""
    for install in (install_with_uv, build_from_debian):
        try:
            install(version)
        except UnavailableError as error:
            print(f"Python {version}: {error}", flush=True)
        else:
            return find_python(version)
    return None


def install_with_uv(version: str) -> None:
    environment = os.environ | {"UV_HTTP_TIMEOUT": "10"}
    command = [sys.executable, "-m", "uv", "python", "install", "--quiet", version]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"uv has no build: {(done.stderr.strip().splitlines() or ['?'])[-1].strip()}")


def build_from_debian(version: str) -> None:
    """Build it from Debian's copy of the release, without Debian's patches."""
    release = version.removesuffix("t")
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "python.tar.xz")
        download_source(release, archive)
        with tarfile.open(archive) as tar:
            # Filters exist since 3.10.3.
            tar.extractall(scratch, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        (source,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        install_build_dependencies()
        header = source.joinpath("Include", "patchlevel.h").read_text()
        (full,) = re.findall(r'#define PY_VERSION\s+"([^"+]+)\+?"', header)
        prefix = PYENV_VERSIONS / (full + version.removeprefix(release))
        print(f"Python {version}: building {full} into {prefix} ...", flush=True)
        flags = ["--disable-gil"] if version.endswith("t") else []
        for command in (
            ["./configure", "-q", f"--prefix={prefix}", "--with-ensurepip=install", *flags],
            ["make", "-s", f"-j{os.cpu_count()}"],
            ["make", "-s", "install"],
        ):
            run(command, source)


def download_source(release: str, archive: Path) -> None:
    mirror = debian_mirror()
    try:
        with urllib.request.urlopen(
            f"{mirror}/dists/{SUITE}/main/source/Sources.xz", timeout=TIMEOUT_SECONDS
        ) as response:
            index = lzma.decompress(response.read()).decode()
    except OSError as error:
        raise UnavailableError(f"{mirror} cannot be read: {error}") from error
    package = re.search(rf"^Package: python{re.escape(release)}\n(?:.+\n)+", index, re.MULTILINE)
    if package is None:
        raise UnavailableError(f"Debian {SUITE} has no package python{release}")
    (folder,) = re.findall(r"^Directory: (.+)$", package[0], re.MULTILINE)
    listed = re.findall(r"_(\S+)\.orig\.tar\.xz$", package[0], re.MULTILINE)[0]
    for candidate in candidates(release, listed):
        address = f"{mirror}/{folder}/python{release}_{candidate}.orig.tar.xz"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
                archive.write_bytes(response.read())
        except urllib.error.HTTPError:
            continue
        except OSError as error:
            raise UnavailableError(f"{address} cannot be read: {error}") from error
        return
    raise UnavailableError(f"{mirror} lists python{release} {listed}, but does not have it")


def candidates(release: str, listed: str) -> Iterator[str]:
    """Yield the versions that an outdated mirror may have instead of the one in its index."""
    yield listed
    patch = int(re.findall(r"\d+", listed)[2])
    yield from (f"{release}.{earlier}" for earlier in range(patch - 1, max(patch - 3, -1), -1))
    yield from (f"{release}.0~rc{number}" for number in (3, 2, 1))


def debian_mirror() -> str:
    """Return the mirror that apt uses for Debian's own packages."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(path.read_text() for path in sources if path.is_file())
    found = re.search(r"^(?:URIs:|deb)\s+(?:\[.*\]\s+)?(https?://\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
    if found is None:
        raise UnavailableError("this is no Debian machine, so there is no source package to build")
    return found[1]


def install_build_dependencies() -> None:
    known = subprocess.run(["dpkg", "-s", *BUILD_DEPENDENCIES], capture_output=True, check=False)
    if known.returncode == 0:
        return
    sudo = [] if os.geteuid() == 0 else [shutil.which("sudo") or "sudo", "-n"]
    run([*sudo, "apt-get", "update", "-qq"])
    run([*sudo, "apt-get", "install", "-y", "-qq", *BUILD_DEPENDENCIES])


def run(command: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        raise UnavailableError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise UnavailableError(f"{' '.join(command)} failed:\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
