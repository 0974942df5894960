"""The network of the machines: a bridge in a namespace that nothing else is in, and a cable for each machine."""

import os
import subprocess

BRIDGE = "bridge0"
# Nobody outside the namespaces sees these.
PREFIX = "192.168.1"


def ip(*words):
    """Runs ip(8)."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def begin():
    """Makes the bridge in this process's namespace, which is new. Whatever is mounted here is seen by nobody else."""
    os.makedirs("/run/netns", exist_ok=True)
    ip("link", "set", "lo", "up")
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("link", "set", BRIDGE, "up")


class Cable:
    """A machine's connection. Its namespace outlives the machine's crashes, as a cable does."""

    def __init__(self, machine, number):
        self.namespace = f"m{number}"
        self.device = f"cable{number}"
        self.address = f"{PREFIX}.{number}"
        self.path = f"/run/netns/{self.namespace}"
        ip("netns", "add", self.namespace)
        ip("link", "add", self.device, "type", "veth", "peer", "name", "eth1", "netns", self.namespace)
        ip("link", "set", self.device, "master", BRIDGE, "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth1")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "set", "eth1", "up")
        self.machine = machine

    def pull(self):
        """Nothing passes, and neither side is told more than by a cable that hangs in the air."""
        ip("link", "set", self.device, "down")

    def plug(self):
        """As before."""
        ip("link", "set", self.device, "up")

    def remove(self):
        """For good."""
        ip("netns", "delete", self.namespace)
