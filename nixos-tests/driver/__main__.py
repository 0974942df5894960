"""Runs the scripts of `nixos-tests/scripts` on machines with a real systemd, made here.

    python3 nixos-tests/driver --image ROOT --packages FOLDER --logs FOLDER [--only PART]

Started by `cargo xtask test machines`, which brings the root image and the packages. It needs root.

    outer process ── makes the scratch folder, removes it when all is over
      └ unshare: own processes, mounts and network; what is below dies with the process above it
          └ inner process ── a bridge, and for each script its machines
              ├ systemd-nspawn ── a machine: overlay over the image, namespace of its own on the bridge
              └ nsenter ── what a script runs on a machine

Nothing of the host is changed but a scratch folder and control groups, both named for the process that made them. A
run that was killed cannot remove those; the next one does.

For each script one line is printed, which the caller counts: `ok NAME SECONDS` or `FAILED NAME SECONDS` with what there
is to know below it, each line indented.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys

import leftovers
import runner


def main():
    arguments = parse()
    if arguments.inside:
        return runner.run(arguments)
    leftovers.remove(arguments.scratch)
    folder = leftovers.new_folder(arguments.scratch)
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent():
        pr_set_pdeathsig = 1
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)

    # Namespaces are what cleans up: when the inner process ends, however it ends, the kernel ends all that it started,
    # and with them go the mounts and the network.
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts", "--ipc"]
    command += ["--propagation", "private", sys.executable, "-B", *sys.argv, "--inside", folder]
    stopped = []
    child = None

    def stop(number, _frame):
        stopped.append(number)
        # `unshare` does not listen while it waits; its child is told by the group, or here.
        if child is not None:
            leftovers.tell_children(child.pid, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        child = subprocess.Popen(command, preexec_fn=die_with_parent, stdin=subprocess.DEVNULL)
        status = child.wait()
    finally:
        leftovers.remove_own(folder)
    if stopped:
        return 128 + stopped[0]
    return status


def parse():
    parser = argparse.ArgumentParser(prog="driver", description="Runs machine tests.")
    parser.add_argument("--image", required=True, help="the root of a Debian, left as it is")
    parser.add_argument("--packages", required=True, help="folder with the packages, a folder below it for each revision")
    parser.add_argument("--logs", required=True, help="where the machines' consoles are written to")
    parser.add_argument("--kubernetes", help="folder with etcd, kube-apiserver and kubectl")
    parser.add_argument("--provider", help="folder where oidc-provider is installed")
    parser.add_argument("--provider-program", help="the program that runs it")
    parser.add_argument("--node", help="Node, for the provider")
    parser.add_argument("--scratch", default="/var/tmp", help="where the machines' disks are meanwhile")
    parser.add_argument("--only", default="", help="only scripts whose name contains this")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("machines need root")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
