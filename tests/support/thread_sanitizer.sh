#!/usr/bin/env bash
# The tests with threads under ThreadSanitizer, the engine's and the Python package's: `make test-sanitizer`.
#
#   tests/support/thread_sanitizer.sh [PYTEST_ARGUMENT...]      by default tests/both/test_threads.py
#
# Builds a free-threaded CPython, Rust's standard library and the extension with the sanitizer, below build/sanitizer/. The
# first run takes a quarter of an hour on two cores, and needs a network. A report of a race fails the test that it belongs to.
# Needs clang of the LLVM version that rustc has, Rust's sources, and headers. On Debian testing:
#   apt-get install cargo rustc rust-src clang-22 llvm make xz-utils python3 \
#     libssl-dev libffi-dev libsqlite3-dev zlib1g-dev libbz2-dev liblzma-dev
# CPYTHON_SOURCE names an unpacked source of CPython 3.14; without it, Debian's is fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
build=$root/build/sanitizer
target=x86_64-unknown-linux-gnu
python=$build/cpython/python

fail() { echo "error: $*" >&2; exit 1; }

find_tools() {
  command -v rustc >/dev/null || fail "rustc is missing; on Debian: apt-get install rustc cargo"
  llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  clang=${CLANG:-clang-$llvm}
  command -v "$clang" >/dev/null || fail "$clang is missing (rustc has LLVM $llvm); on Debian: apt-get install clang-$llvm"
  symbolizer=$(command -v "llvm-symbolizer-$llvm" llvm-symbolizer | head -1)
  # Without names of functions no suppression applies.
  [ -n "$symbolizer" ] || fail "llvm-symbolizer is missing; on Debian: apt-get install llvm"
  [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library/std" ] ||
    fail "the sources of Rust's standard library are missing; on Debian: apt-get install rust-src"
}

build_python() {
  [ -e "$build/cpython/.built" ] && return
  rm -rf "$build/cpython" && mkdir -p "$build"
  if [ -n "${CPYTHON_SOURCE:-}" ]; then
    cp -r "$CPYTHON_SOURCE" "$build/cpython"
  else
    PYTHONPATH=tests/support python3 -c 'import pathlib, pythons, sys; pythons.download_source("3.14", pathlib.Path(sys.argv[1]))' "$build/python.tar.xz"
    mkdir "$build/cpython" && tar xJf "$build/python.tar.xz" -C "$build/cpython" --strip-components=1
  fi
  echo "building a free-threaded CPython with ThreadSanitizer ..."
  (cd "$build/cpython" && CC=$clang CXX=${clang/clang/clang++} ./configure -q --disable-gil --with-thread-sanitizer &&
    make -s -j"$(nproc)" && touch .built) >"$build/python.log" 2>&1 || { tail -20 "$build/python.log" >&2; exit 1; }
}

# Used from where it was built: to install it would compile its library to byte code, which takes long under the sanitizer.
install_dependencies() {
  [ "$build/venv/.installed" -nt requirements/matrix/django-6.1.txt ] && return
  echo "installing locked dependencies into build/sanitizer/venv ..."
  TSAN_OPTIONS=report_bugs=0 "$python" -m venv --clear "$build/venv"
  TSAN_OPTIONS=report_bugs=0 "$build/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    --require-hashes -r requirements/matrix/django-6.1.txt
  touch "$build/venv/.installed"
}

# The executables bring clang's runtime of the sanitizer along; the extension uses the interpreter's.
sanitized_cargo() {
  RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$build/target PYO3_PYTHON=$python TSAN_OPTIONS="$options" \
    RUSTFLAGS="-Zsanitizer=thread -Zexternal-clangrt -Clinker=$clang -Clink-arg=-fsanitize=thread -Cdebuginfo=line-tables-only" \
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo "$1" --quiet --locked --release -Zbuild-std --target "$target" "${@:2}"
}

build_package() {
  # Without the feature it would be linked with a libpython.
  sanitized_cargo build -p nearcache-python --features pyo3/extension-module
  rm -rf "$build/package" && mkdir -p "$build/package"
  cp -r python/nearcache "$build/package/"
  find "$build/package" -name '*.so' -delete
  cp "$build/target/$target/release/lib_core.so" "$build/package/nearcache/_core.cpython-314t-x86_64-linux-gnu.so"
}

find_tools
build_python
options="external_symbolizer_path=$symbolizer suppressions=$build/cpython/Tools/tsan/suppressions_free_threading.txt history_size=4"
install_dependencies
sanitized_cargo test -p nearcache --test threads --test local
build_package
[ $# -gt 0 ] || set -- tests/both/test_threads.py
# Everything takes about ten times as long.
NEARCACHE_TEST_SECONDS=600 TSAN_OPTIONS=$options PYTHONPATH=$build/package \
  "$build/venv/bin/python" -m pytest -p no:cacheprovider -o faulthandler_timeout=3600 "$@"
