"""A machine, with the methods that machines have in NixOS tests (nixos/lib/test-driver), as far as our scripts use them."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import leftovers
import network

# Seconds. A machine boots in one; slow and loaded hosts exist.
BOOT = 60
# What a command on a machine, and something that is waited for, may take unless a script says otherwise.
PATIENCE = 60
# Between two looks.
PAUSE = 0.1


class Failed(Exception):
    """What a script expects is not so."""


class Machine:
    """A Debian that boots."""

    def __init__(self, stage, node, number):
        self.name = node.name
        self.node = node
        self.stage = stage
        self.folder = os.path.join(stage.folder, f"{stage.name}-{self.name}")
        self.root = os.path.join(self.folder, "root")
        self.console = os.path.join(stage.logs, f"{stage.name}-{self.name}.log")
        self.journal = os.path.join(stage.logs, f"{stage.name}-{self.name}.journal")
        self.cable = network.Cable(self, number)
        # Of an earlier run.
        open(self.console, "wb").close()
        self.process = None
        self.leader = None
        self.is_new = True
        self._disk()

    # What NixOS tests have.

    def start(self):
        """Boots it unless it runs; returns when systemd has started all there is."""
        if self.process is not None:
            return
        groups = leftovers.new_groups(f"{os.path.basename(self.stage.folder)}-{self.name}")

        def enter():
            for group in groups:
                with open(os.path.join(group, "cgroup.procs"), "w", encoding="utf-8") as file:
                    file.write(str(os.getpid()))

        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--boot"]
        command += [f"--directory={self.root}", f"--machine={self.name}", f"--hostname={self.name}"]
        command += [f"--network-namespace-path={self.cable.path}"]
        command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        for source, target in self.node.shared.items():
            command.append(f"--bind-ro={source}:{target}")
        with open(self.console, "ab") as console:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=enter
            )
        self._until("the machine to boot", self._has_booted, BOOT)
        if self.is_new:
            self.is_new = False
            self._set_up()

    def shutdown(self):
        """Turns it off in order."""
        if self.process is None:
            return
        self.execute("systemctl poweroff", timeout=10)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.name} does not turn off") from error
        self.process = self.leader = None

    def crash(self):
        """Takes the power away."""
        if self.process is None:
            return
        if self.leader is not None:
            try:
                os.kill(self.leader, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = self.leader = None

    def reboot(self):
        """Turns it off and on."""
        self.shutdown()
        self.start()

    def block(self):
        """Pulls the network cable."""
        self.cable.pull()

    def unblock(self):
        """Plugs it in again."""
        self.cable.plug()

    def execute(self, command, check_return=True, check_output=True, timeout=PATIENCE, logged=True):
        """Runs a command; answers its status and what it wrote to standard output."""
        if self.process is None:
            self.start()
        del check_return
        words = ["nsenter", f"--target={self.leader}", "--all", "--", "/usr/bin/env", "-i", "HOME=/root", "TERM=dumb"]
        words += ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        words += ["timeout", "--kill-after=5", str(timeout), "bash", "-c", f"set -euo pipefail; cd /root; {command}"]
        with open(self.console, "ab") as console:
            if logged:
                console.write(f"\n$ {command}\n".encode())
                console.flush()
            # A file: what the command leaves running must not be waited for, as it would be with a pipe.
            with tempfile.TemporaryFile(dir=self.folder) as output:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output if check_output else console,
                    stderr=console,
                    timeout=timeout + 10,
                    check=False,
                )
                output.seek(0)
                said = output.read().decode(errors="replace")
            if logged:
                console.write(said.encode())
        return done.returncode, said

    def succeed(self, *commands, timeout=PATIENCE):
        """Runs commands that must succeed; answers what they wrote."""
        said = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout)
            said += out
            if status != 0:
                raise Failed(f"{self.name}: `{command}` ended with {status}\n{out}")
        return said

    def fail(self, *commands, timeout=PATIENCE):
        """Runs commands that must fail."""
        said = ""
        for command in commands:
            status, out = self.execute(command, timeout=timeout)
            said += out
            if status == 0:
                raise Failed(f"{self.name}: `{command}` succeeded\n{out}")
        return said

    def wait_until_succeeds(self, command, timeout=PATIENCE):
        """Runs a command again and again until it succeeds."""
        return self._repeated(command, timeout, lambda status: status == 0, "succeed")

    def wait_until_fails(self, command, timeout=PATIENCE):
        """Runs a command again and again until it fails."""
        return self._repeated(command, timeout, lambda status: status != 0, "fail")

    def wait_for_unit(self, unit, user=None, timeout=PATIENCE):
        """Waits until a unit is active; fails at once when it has failed, or nothing will start it."""
        assert user is None, "there are no managers of users here"

        def is_active():
            info = self.get_unit_info(unit)
            state = info.get("ActiveState")
            if state == "failed":
                raise Failed(f"{self.name}: {unit} has failed: {info.get('Result')}")
            if state == "inactive" and info.get("Job", "0") in ("", "0"):
                if self.get_unit_info(unit).get("ActiveState") == "inactive" and not self._has_jobs():
                    raise Failed(f"{self.name}: {unit} is inactive, and nothing starts it")
            return state == "active"

        self._until(f"{unit} to be active", is_active, timeout)

    def wait_for_open_port(self, port, addr="localhost", timeout=PATIENCE):
        """Waits until somebody listens."""
        self.wait_until_succeeds(f"exec 3<>/dev/tcp/{addr}/{port}", timeout=timeout)

    def wait_for_closed_port(self, port, addr="localhost", timeout=PATIENCE):
        """Waits until nobody does."""
        self.wait_until_fails(f"exec 3<>/dev/tcp/{addr}/{port}", timeout=timeout)

    def wait_for_file(self, filename, timeout=PATIENCE):
        """Waits until there is a file."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout=timeout)

    def systemctl(self, query, user=None):
        """Runs systemctl; answers status and output."""
        assert user is None, "there are no managers of users here"
        return self.execute(f"systemctl {query}")

    def start_job(self, unit, user=None):
        """Starts a unit."""
        return self.systemctl(f"start {unit}", user)

    def stop_job(self, unit, user=None):
        """Stops it."""
        return self.systemctl(f"stop {unit}", user)

    def get_unit_info(self, unit, user=None):
        """The unit's properties, as `systemctl show` prints them."""
        assert user is None, "there are no managers of users here"
        status, out = self.execute(f"systemctl --no-pager show {shlex.quote(unit)}", logged=False)
        if status != 0:
            raise Failed(f"{self.name}: no properties of {unit}")
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def get_unit_property(self, unit, property, user=None):
        """One of them."""
        return self.get_unit_info(unit, user)[property]

    def copy_from_host(self, source, target):
        """Copies a file or a folder into the machine."""
        place = os.path.join("/proc", str(self.leader), "root", target.lstrip("/"))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copy2(source, place)

    def sleep(self, seconds):
        """Lets time pass."""
        time.sleep(seconds)

    def log(self, message):
        """Notes something in the machine's console."""
        with open(self.console, "a", encoding="utf-8") as console:
            console.write(f"\n# {message}\n")

    # What it is made of.

    def write(self, path, content, mode=0o644):
        """Puts a file onto the disk."""
        place = os.path.join(self.root, path.lstrip("/"))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(place, mode)

    def keep_journal(self):
        """Writes the journal of all boots beside the console."""
        folder = os.path.join(self.root, "var/log/journal")
        with open(self.journal, "wb") as file:
            command = ["journalctl", "--no-pager", "--output=short-iso-precise", f"--directory={folder}"]
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False, timeout=60)

    def remove(self):
        """Ends it, and gives its place back."""
        self.crash()
        self.cable.remove()
        subprocess.run(["umount", "--lazy", self.root], check=False, capture_output=True, timeout=30)
        for group in leftovers.groups():
            leftovers.remove_group(os.path.join(group, f"{os.path.basename(self.stage.folder)}-{self.name}"))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _disk(self):
        """The image with a layer over it that is this machine's; a copy where there is no overlayfs."""
        layers = [os.path.join(self.folder, part) for part in ("upper", "work")]
        for folder in (*layers, self.root):
            os.makedirs(folder)
        options = f"lowerdir={self.stage.image},upperdir={layers[0]},workdir={layers[1]}"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", self.root],
            check=False, capture_output=True, timeout=30,
        )  # fmt: skip
        if mounted.returncode != 0:
            subprocess.run(["cp", "-a", f"{self.stage.image}/.", self.root], check=True, timeout=300)
        os.chmod(self.root, 0o755)
        self.write("/etc/hostname", f"{self.name}\n")
        for path, content in self.node.files.items():
            self.write(path, content, 0o755 if content.startswith("#!") else 0o644)

    def _has_booted(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended while it booted")
        if self.leader is None:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/comm", encoding="utf-8") as file:
                    if file.read().strip() == "systemd":
                        self.leader = int(child)
            if self.leader is None:
                return False
        status, out = self.execute("systemctl is-system-running || true", timeout=10, logged=False)
        return status == 0 and out.strip() in ("running", "degraded")

    def _set_up(self):
        """Once, after the first boot: accounts and packages, as an administrator would."""
        for user in self.node.users:
            self.succeed(f"useradd --create-home --shell /bin/bash {user}")
        if self.node.packages:
            self.install(1, *self.node.packages)
        for command in self.node.commands:
            self.succeed(command)

    def install(self, revision, *packages):
        """Installs packages of this project by apt. A configuration that is there stays."""
        self.bring(revision, *packages)
        files = " ".join(f"/var/packages/{revision}/{package}.deb" for package in packages)
        self.succeed(f"{self.INSTALL} {files}", timeout=120)

    INSTALL = (
        "DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "
        "-o APT::Sandbox::User=root install --no-install-recommends"
    )

    def bring(self, revision, *packages):
        """Copies packages to /var/packages/REVISION/NAME.deb."""
        for package in packages:
            folder = os.path.join(self.stage.packages, str(revision))
            found = [file for file in os.listdir(folder) if file.startswith(package + "_")]
            if len(found) != 1:
                raise Failed(f"one package {package}, not {found}")
            self.copy_from_host(os.path.join(folder, found[0]), f"/var/packages/{revision}/{package}.deb")

    def _has_jobs(self):
        _, out = self.execute("systemctl list-jobs --no-legend", logged=False)
        return bool(out.strip()) and "No jobs" not in out

    def _repeated(self, command, timeout, is_enough, what):
        is_first = True
        end = time.monotonic() + timeout
        while True:
            left = max(1, int(end - time.monotonic()))
            # Once is enough to read.
            status, last = self.execute(command, timeout=left, logged=is_first)
            is_first = False
            if is_enough(status):
                return last
            if time.monotonic() >= end:
                raise Failed(f"{self.name}: `{command}` did not {what} within {timeout} s; it ended with {status}\n{last}")
            time.sleep(PAUSE)

    def _until(self, what, is_so, timeout):
        end = time.monotonic() + timeout
        while not is_so():
            if time.monotonic() >= end:
                raise Failed(f"{self.name}: waited {timeout} s for {what}")
            time.sleep(PAUSE)
