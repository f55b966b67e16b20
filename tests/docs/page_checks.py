"""What is checked of the blocks that are not Python."""

import configparser
import json
import re
import shlex
import subprocess
import sys

import yaml
from django.core.management.base import CommandError

from nearcache.django.management.commands.nearcache import Command
from page_blocks import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCKERFILE = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD"),
    *("RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
OPERATORS = {"|", "||", "&", "&&", ";", "<", ">", ">>", "2>"}
PROMPT = "$ "


def check_console(block):
    """Check the commands of a session, the lines that begin with a prompt. The others are output."""
    commands = list(_commands(block))
    if not commands:
        raise block.error(f"no command: a console block has lines that begin with {PROMPT!r}")
    for command in commands:
        parsed = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        if parsed.returncode:
            raise block.error(f"bash cannot parse {command!r}: {parsed.stderr.strip()}")
        for words in _simple_commands(command):
            _check_make(block, words)
            _check_nearcache(block, words)


def _commands(block):
    """Return the commands, each with the lines that continue it."""
    lines = iter(block.text.splitlines())
    for line in lines:
        if line.startswith(PROMPT):
            command = line.removeprefix(PROMPT)
            while command.endswith("\\"):
                command = f"{command[:-1]}{next(lines, '').removeprefix('>')}"
            yield command


def _simple_commands(command):
    """Return the words of each command of a pipeline or list."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True  # else a colon is a word
    words = []
    for word in lexer:
        if word in OPERATORS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _check_make(block, words):
    if words[:1] != ["make"]:
        return
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = [
        word for word in words[1:] if "=" not in word and not word.startswith("-") and word not in targets
    ]
    if wrong:
        raise block.error(f"the Makefile has no target {', '.join(wrong)}")


def _check_nearcache(block, words):
    """Let the command's own parser judge its arguments."""
    for index, word in enumerate(words[:-1]):
        if word.rpartition("/")[2] in {"manage.py", "django-admin"} and words[index + 1] == "nearcache":
            arguments = words[index + 2 :]
            parser = Command().create_parser("manage.py", "nearcache")
            try:
                parser.parse_args(arguments)
            except CommandError as error:
                raise block.error(f"manage.py nearcache {shlex.join(arguments)}: {error}") from error


def check_dockerfile(block):
    """Check that every instruction is one that Docker knows."""
    text = re.sub(r"\\\n", " ", block.text)
    for line in text.splitlines():
        word = line.split(maxsplit=1)[0] if line.strip() else "#"
        if not word.startswith("#") and word.upper() not in DOCKERFILE:
            raise block.error(f"{word} is no instruction of a Dockerfile")


def _parsed_by(parse):
    def check(block):
        try:
            parse(block.text)
        except (ValueError, configparser.Error, yaml.YAMLError) as error:
            raise block.error(f"no valid {block.language}: {error}") from error

    return check


def _ini(text):
    # A unit of systemd's may name a key twice.
    configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True).read_string(text)


# Every language that a page may use, but for Python.
CHECKS = {
    "console": check_console,
    "dockerfile": check_dockerfile,
    "ini": _parsed_by(_ini),
    "json": _parsed_by(json.loads),
    "text": lambda block: None,
    "toml": _parsed_by(tomllib.loads),
    "yaml": _parsed_by(lambda text: list(yaml.safe_load_all(text))),
}
