"""The inner process: it is alone in its namespaces, and runs the scripts one after another."""

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback

import machine
import network
import nodes
import person

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scripts")
# Seconds for one script, machines and all. The longest takes one minute and a half on two cores that do nothing else.
LIMIT = 600
# Lines of each console that are shown when a script fails.
TAIL = 40
# The order in which they run: what fails soonest first.
ORDER = ["agent-and-hub", "hardening", "unix-sshd", "debian/upgrade", "identity"]


class Stage:
    """What all machines of a script share."""

    def __init__(self, name, folder, arguments):
        self.name = name
        self.folder = folder
        self.image = os.path.abspath(arguments.image)
        self.packages = os.path.abspath(arguments.packages)
        self.logs = os.path.abspath(arguments.logs)


def run(arguments):
    """Runs the scripts; answers the exit code."""

    def stop(_number, _frame):
        print("interrupted", file=sys.stderr, flush=True)
        # The kernel ends everything else, as it does when this process is killed.
        os._exit(130)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    # Whatever programs leave in /run is seen by nobody else, and gone with this process.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True, timeout=30)
    network.begin()
    os.makedirs(arguments.logs, exist_ok=True)
    names = [name for name in ORDER if arguments.only in name]
    if not names:
        print(f"no script's name contains `{arguments.only}`", file=sys.stderr)
        return 2
    good = True
    for name in names:
        good = one(name, arguments) and good
    return 0 if good else 1


def one(name, arguments):
    """Runs one script on machines of its own; answers whether it passed."""
    short = name.rpartition("/")[2]
    stage = Stage(short, arguments.inside, arguments)
    begun = time.monotonic()
    machines, failure = [], None

    def too_long(_number, _frame):
        raise machine.Failed(f"the script took more than {LIMIT} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    try:
        described = nodes.of(short, arguments)
        for number, node in enumerate(described, 1):
            node.files["/etc/hosts"] = hosts(described)
            machines.append(machine.Machine(stage, node, number))
        path = os.path.join(SCRIPTS, name + ".py")
        with open(path, encoding="utf-8") as file:
            code = compile(file.read(), path, "exec")
        exec(code, globals_of(machines))
    except Exception:
        failure = traceback.format_exc()
    finally:
        signal.alarm(0)
        for one_machine in machines:
            one_machine.keep_journal()
            one_machine.remove()
    took = time.monotonic() - begun
    print(f"{'FAILED' if failure else 'ok'} {short} {took:.1f}", flush=True)
    if failure:
        lines = failure.splitlines()
        for one_machine in machines:
            for path in (one_machine.console, one_machine.journal):
                lines += ["", f"{path} ends:", *tail(path)]
        print("\n".join(f"    {line}" for line in lines), flush=True)
    return failure is None


def hosts(described):
    """The names of all machines; they have the addresses of their cables."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{network.PREFIX}.{number} {node.name}" for number, node in enumerate(described, 1)]
    return "\n".join(lines) + "\n"


def globals_of(machines):
    """What a script finds: its machines by name, and what NixOS tests bring."""

    @contextlib.contextmanager
    def subtest(name):
        for one_machine in machines:
            one_machine.log(f"subtest: {name}")
        try:
            yield
        except Exception as error:
            raise machine.Failed(f"{name}: {error}") from error

    def start_all():
        with concurrent.futures.ThreadPoolExecutor(len(machines)) as pool:
            for started in [pool.submit(one_machine.start) for one_machine in machines]:
                started.result()

    def login(on, user, password=None):
        return person.login(by_name["hub"], on, user, password)

    by_name = {one_machine.name: one_machine for one_machine in machines}
    return {
        **by_name,
        "machines": machines,
        "subtest": subtest,
        "start_all": start_all,
        "login": login,
        "log": print,
        "json": json,
        "__name__": "script",
    }


def tail(path):
    """The last lines of a file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[-TAIL:]
    except OSError as error:
        return [str(error)]
