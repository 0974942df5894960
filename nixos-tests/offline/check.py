#!/usr/bin/env python3
"""Checks everything of Nix that can be checked without nixpkgs, a network, a daemon and a store of its own.

It evaluates the flake and its modules against a stand-in for nixpkgs (the folder `nixpkgs` beside this file), and
compares what NixOS would make of them with what is written down here. It prints what the test harness of Rust prints.

    python3 nixos-tests/offline/check.py [--bless] [--lib PATH] [--programs FOLDER] [--without-flake] [PART]

What only nixpkgs can show, it cannot: that the packages build, and that the machines of the tests boot.
"""

import argparse
import ast
import builtins
import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
UNITS = ROOT / "packaging/systemd"
GOLDEN = HERE / "golden"
REFERENCE = ROOT / "docs/reference/nixos.md"
SCRIPTS = ROOT / "nixos-tests/scripts"

# What the flake reads: copied for its evaluation, so that neither git nor what is built beside it matters.
FLAKE = [
    "Cargo.lock",
    "Cargo.toml",
    "crates",
    "docs",
    "flake.lock",
    "flake.nix",
    "manifests",
    "nixos-modules",
    "nixos-tests",
    "packaging",
]

# What the modules may add to the units of the package. Whatever else a drop-in says would differ from other systems.
ADDED = {
    "Unit": {"After", "Wants", "X-Reload-Triggers", "X-Restart-Triggers"},
    "Service": {
        "ExecStart",
        "LoadCredential",
        "SetCredential",
        "SupplementaryGroups",
        "X-RestartIfChanged",
        "X-StopIfChanged",
    },
    "Socket": {"ListenStream"},
}

# What the units say to systemds that are newer than the oldest that they are for.
NEWER = {"RestartMaxDelaySec", "RestartSteps"}

# What every script finds, besides its machines: the test driver of NixOS has these, and so has ours.
DRIVER = {"log", "login", "machines", "retry", "start_all", "subtest"}

# Seconds for one program to end. Each takes less than one.
LIMIT = 120

# The worst that `systemd-analyze security` may say of a daemon, in tenths.
EXPOSURE = 20


class Mistake(Exception):
    """What a check found."""


class Unable(Exception):
    """Why a check cannot be made here."""


class Check:
    def __init__(self, arguments, scratch):
        self.arguments = arguments
        self.scratch = scratch
        self.environment = {
            **os.environ,
            "HOME": str(scratch),
            "XDG_CACHE_HOME": str(scratch / "cache"),
            "NIX_CONFIG": "build-users-group =\nextra-experimental-features = nix-command flakes",
        }
        self.passed, self.failed, self.ignored = 0, [], 0

    def blessed(self):
        """The checks that compare with what is written down."""
        yield "every option is in the reference", self.reference
        for name in self.examples():
            yield f"example {name} is as it was", lambda name=name: self.golden(name)

    def all(self):
        """Every check: its name, and what makes it."""
        yield from self.blessed()
        yield "the lock file pins what the flake asks for", self.lock
        if not self.arguments.without_flake:
            yield "the flake evaluates, with the machines of every test", self.flake
        for name in self.examples():
            yield f"example {name} adds settings to the units, and nothing else", lambda name=name: self.added(name)
            yield f"example {name}: systemd takes the units", lambda name=name: self.verify(name)
            yield f"example {name}: the programs take the configuration", lambda name=name: self.configuration(name)
        for name in sorted(path.stem for path in (HERE / "refused").glob("*.nix")):
            yield f"refused: {name}", lambda name=name: self.refused(name)
        for number, text in enumerate(self.documented(), 1):
            yield f"example {number} of docs/nixos.md is taken", lambda text=text: self.document(text)
        yield "what a reload takes in restarts nothing", self.changes
        yield "the package finds the paths that it replaces", self.replaced
        for path in sorted((ROOT / "nixos-tests").rglob("*.py")):
            yield f"script {path.relative_to(ROOT / 'nixos-tests')} compiles", lambda path=path: self.compiles(path)
        yield "each script has its machines", self.machines

    def examples(self):
        return sorted(path.stem for path in (HERE / "examples").glob("*.nix"))

    def run(self):
        checks = self.blessed() if self.arguments.bless else self.all()
        wanted = [(name, check) for name, check in checks if self.arguments.part in name]
        print(f"running {len(wanted)} tests", flush=True)
        for name, check in wanted:
            try:
                check()
                self.passed += 1
                print(f"test {name} ... ok", flush=True)
            except Unable as reason:
                self.ignored += 1
                print(f"test {name} ... ignored, {reason}", flush=True)
            except Mistake as mistake:
                self.failed.append((name, str(mistake)))
                print(f"test {name} ... FAILED", flush=True)
        for name, mistake in self.failed:
            print(f"\n---- {name} ----\n{mistake}")
        word = "FAILED" if self.failed else "ok"
        print(
            f"\ntest result: {word}. {self.passed} passed; {len(self.failed)} failed; {self.ignored} ignored; "
            "0 measured; 0 filtered out"
        )
        return 1 if self.failed else 0

    # Running things

    def command(self, words, **more):
        """What a program said, and whether it ended well."""
        try:
            done = subprocess.run(
                [str(word) for word in words],
                capture_output=True,
                text=True,
                timeout=LIMIT,
                env={**self.environment, **more},
                check=False,
            )
        except FileNotFoundError:
            raise Unable(f"there is no {words[0]}") from None
        except subprocess.TimeoutExpired:
            raise Mistake(f"{words[0]} did not end within {LIMIT} s") from None
        return done

    def evaluated(self, expression):
        """An expression over evaluate.nix, evaluated as it would be on a machine without a store."""
        lib = self.arguments.lib
        chosen = f"{{ lib = import {lib}; }}" if lib else "{ }"
        return self.command(
            ["nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "--expr"]
            + [f"let it = import {HERE}/evaluate.nix {chosen}; in {expression}"]
        )

    def value(self, expression):
        """The value of an expression over evaluate.nix."""
        cache = self.__dict__.setdefault("values", {})
        if expression not in cache:
            done = self.evaluated(expression)
            if done.returncode != 0:
                raise Mistake(done.stderr)
            # Where things are in the store depends on what they are made of here.
            cache[expression] = json.loads(re.sub(r"/nix/store/[0-9a-z]{32}-", "/nix/store/HASH-", done.stdout))
        return cache[expression]

    # The checks

    def lock(self):
        asked = re.search(r'nixpkgs\.url = "github:(.+)/(.+)/(.+)"', (ROOT / "flake.nix").read_text())
        lock = json.loads((ROOT / "flake.lock").read_text())
        original = lock["nodes"]["nixpkgs"]["original"]
        pinned = (original["owner"], original["repo"], original["ref"])
        if asked is None or asked.groups() != pinned:
            raise Mistake(f"flake.lock is for {pinned}: Nix would lock another nixpkgs")
        if set(lock["nodes"]) != {"nixpkgs", "root"}:
            raise Mistake("nixpkgs is the only input")

    def flake(self):
        source = self.scratch / "source"
        source.mkdir()
        for name in FLAKE:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
        done = self.command(
            ["nix", "--store", self.scratch / "store", "flake", "check", "--no-build", "--no-write-lock-file"]
            + ["--override-input", "nixpkgs", f"path:{source}/nixos-tests/offline/nixpkgs", f"path:{source}"]
        )
        if done.returncode != 0:
            raise Mistake(done.stderr)

    def reference(self):
        self.compare(REFERENCE, self.value("it.reference"))

    def golden(self, name):
        example = self.value("it.examples")[name]
        text = ""
        for file, content in example["files"].items():
            text += f"# /etc/{file}\n{content}\n"
        for unit, said in example["units"].items():
            if unit.startswith("kedge-") or unit == "sshd.socket":
                wants = " ".join(said["links"]) or "nothing"
                text += f"# {unit}, linked from {wants}\n{said['text']}\n"
        for user, said in example["users"].items():
            text += f"# user {user}, of group {said['group']}\n"
        text += f"# programs: {' '.join(example['programs'])}\n"
        text += f"# open ports: {' '.join(map(str, example['ports'])) or 'none'}\n"
        if example["ssh"]:
            text += f"# /etc/ssh/ssh_config\n{example['ssh']}\n"
        self.compare(GOLDEN / f"{name}.txt", text)

    def added(self, name):
        example = self.value("it.examples")[name]
        for unit, said in example["units"].items():
            if not unit.startswith("kedge-"):
                continue
            path = UNITS / unit
            if not path.is_file():
                raise Mistake(f"{unit}: there is no {path.relative_to(ROOT)} that this would be added to")
            if said["overrideStrategy"] != "asDropin":
                raise Mistake(f"{unit} would stand in the place of the package's")
            shipped = sections(path.read_text())
            for section, lines in sections(said["text"]).items():
                strange = {key for key, _ in lines} - ADDED.get(section, set())
                if strange:
                    raise Mistake(f"{unit} sets {', '.join(sorted(strange))} in [{section}]")
            # NixOS reads no [Install]: what stands there must have been said once more.
            installed = {
                f"{target}.wants"
                for key, value in shipped.get("Install", [])
                if key == "WantedBy"
                for target in value.split()
            }
            if set(said["links"]) != installed:
                raise Mistake(f"{unit} is linked from {said['links']}, and its [Install] says {sorted(installed)}")
            for key, value in shipped.get("Service", []):
                if key == "User" and value not in ("root", *example["users"]):
                    raise Mistake(f"{unit} runs as {value}, and there is no such user")

    def verify(self, name):
        if shutil.which("systemd-analyze") is None:
            raise Unable("there is no systemd-analyze")
        units = self.value("it.examples")[name]["units"]
        folder = self.scratch / f"units-{name}"
        folder.mkdir()
        ours = sorted(unit for unit in units if unit.startswith("kedge-"))
        for unit in ours:
            # Any program will do: systemd looks whether there is one.
            (folder / unit).write_text(with_any_program((UNITS / unit).read_text()))
            (folder / f"{unit}.d").mkdir()
            (folder / f"{unit}.d/overrides.conf").write_text(with_any_program(units[unit]["text"]))
        if not ours:
            return
        path = {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_LOG_LEVEL": "warning"}
        done = self.command(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"] + [folder / unit for unit in ours], **path
        )
        # What it says of other units is of no interest, and it ends with 1 for a key that it does not know.
        known = [line for line in done.stderr.splitlines() if any(key in line for key in NEWER)]
        complaints = [line for line in done.stderr.splitlines() if "kedge-" in line and line not in known]
        if complaints or (done.returncode != 0 and not known):
            raise Mistake(done.stderr)
        for unit in ("kedge-agent.service", "kedge-hub.service"):
            if unit not in ours:
                continue
            done = self.command(
                ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", folder / unit],
                **path,
            )
            if done.returncode != 0:
                overall = [line for line in done.stdout.splitlines() if "Overall" in line]
                raise Mistake("\n".join(overall) or done.stderr)

    def configuration(self, name):
        if self.arguments.programs is None:
            raise Unable("no programs were given with --programs")
        for file, content in self.value("it.examples")[name]["checked"].items():
            program = {"kedge/agent.toml": "kedge-agent", "kedge/hub.toml": "kedge-hub"}[file]
            path = self.scratch / f"{name}.toml"
            path.write_text(content)
            done = self.command([self.arguments.programs / program, "check-config", "--config", path])
            if done.returncode != 0:
                raise Mistake(f"{done.stderr}\n{content}")

    def refused(self, name):
        message = self.value("it.messages")[name]
        done = self.evaluated(f'it.refuse "{name}"')
        if done.returncode == 0:
            raise Mistake(f"it was taken, and not refused with\n{message}")
        if message not in done.stderr:
            raise Mistake(f"wanted: {message}\n   got: {done.stderr}")

    def documented(self):
        """The examples of the documentation."""
        return re.findall(r"```nix\n(.*?)```", (ROOT / "docs/nixos.md").read_text(), re.DOTALL)

    def document(self, text):
        file = self.scratch / "example.nix"
        file.write_text(text)
        done = self.evaluated(f"it.document {file}")
        if done.returncode != 0:
            raise Mistake(done.stderr)

    def changes(self):
        for name, change in self.value("it.changes").items():
            if change["found"] != change["expected"]:
                raise Mistake(f"a change of {name}: {change['found']}, and not {change['expected']}")

    def replaced(self):
        for daemon in ("kedge-agent", "kedge-hub"):
            text = (UNITS / f"{daemon}.service").read_text()
            for path in (f"/usr/bin/{daemon}", "/bin/kill"):
                if path not in text:
                    raise Mistake(f"{daemon}.service does not name {path}, which packaging/nix/package.nix replaces")

    def compiles(self, path):
        try:
            compile(path.read_text(), str(path), "exec")
        except SyntaxError as error:
            raise Mistake(str(error)) from None

    def machines(self):
        tests = self.value("it.tests")
        scripts = {path.stem: path for path in SCRIPTS.glob("*.py")}
        if set(tests) != set(scripts):
            raise Mistake(f"tests: {sorted(tests)}; scripts: {sorted(scripts)}")
        for name, path in scripts.items():
            strangers = unknown_names(path.read_text()) - DRIVER - set(tests[name])
            if strangers:
                raise Mistake(f"{path.name} speaks of {sorted(strangers)}; its machines are {tests[name]}")

    def compare(self, path, text):
        """Compares with what is written down, or writes it down."""
        text = text.rstrip("\n") + "\n"
        there = path.read_text() if path.is_file() else ""
        if there == text:
            return
        if self.arguments.bless:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return
        name = str(path.relative_to(ROOT))
        difference = difflib.unified_diff(there.splitlines(True), text.splitlines(True), name, "now")
        raise Mistake("".join(difference) + "\ncargo xtask bless takes it as it is now")


def sections(text):
    """A unit's lines by their sections, each as key and value."""
    found, section = {}, None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = found.setdefault(line[1:-1], [])
        elif "=" in line and not line.startswith(("#", ";")):
            key, value = line.split("=", 1)
            section.append((key, value))
    return found


def with_any_program(text):
    return re.sub(r"/(?:usr/s?bin|nix/store/[^/ ]+/bin)/(?:kedge-agent|kedge-hub|sshd)\b", "/bin/sh", text)


def unknown_names(text):
    """The names that a script uses and neither defines nor finds in Python itself."""
    tree = ast.parse(text)
    used, defined = set(), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return used - defined


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bless", action="store_true", help="write down what is compared, in place of comparing")
    parser.add_argument("--lib", metavar="PATH", type=pathlib.Path, help="nixpkgs' lib, in place of the stand-in's")
    parser.add_argument("--programs", metavar="FOLDER", type=pathlib.Path, help="kedge-agent and kedge-hub are here")
    parser.add_argument("--without-flake", action="store_true", help="leave out `nix flake check`")
    parser.add_argument("part", nargs="?", default="", help="only checks whose name contains this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-offline-") as scratch:
        return Check(arguments, pathlib.Path(scratch)).run()


if __name__ == "__main__":
    sys.exit(main())
