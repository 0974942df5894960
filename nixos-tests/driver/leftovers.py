"""What outlives a run that is killed: its scratch folder and its control groups, named for the process that made them."""

import os
import re
import shutil
import time

PREFIX = "kedge-machines"
NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)(-[a-z0-9_-]+)?")


def started_at(pid):
    """When a process started, in the kernel's ticks; a number alone may be somebody else's by now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold anything.
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def new_folder(scratch):
    """A folder of this process, which only root may enter."""
    pid = os.getpid()
    folder = os.path.join(scratch, f"{PREFIX}-{pid}-{started_at(pid)}")
    os.mkdir(folder, 0o700)
    return folder


def remove(scratch):
    """Removes what runs left whose process is gone."""
    for entry in os.scandir(scratch):
        if is_left(entry.name) and entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == 0:
            shutil.rmtree(entry.path, ignore_errors=True)
    for group in groups():
        for entry in list(os.scandir(group)):
            if is_left(entry.name):
                remove_group(entry.path)


def remove_own(folder):
    """Removes what a run of this process made, which has ended."""
    name = os.path.basename(folder)
    for group in groups():
        for entry in list(os.scandir(group)):
            if entry.name.startswith(name + "-"):
                remove_group(entry.path)
    shutil.rmtree(folder, ignore_errors=True)


def is_left(name):
    """Whether this is the name of something whose maker is gone."""
    found = NAME.fullmatch(name)
    return bool(found) and started_at(int(found[1])) != int(found[2])


def new_groups(name):
    """Control groups for a machine, one in each hierarchy that systemd uses; answers their folders. Two machines must not
    share one: each systemd takes the group that it is started in for the top."""
    made = []
    for group in groups():
        path = os.path.join(group, name)
        os.makedirs(path, exist_ok=True)
        made.append(path)
    return made


def remove_group(path):
    """Removes a control group and those below it. Who was in it has just been killed, which takes the kernel a moment."""
    for _ in range(50):
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
        if not os.path.exists(path):
            return
        time.sleep(0.1)


def groups():
    """The control groups that this process is in, of the hierarchies that systemd uses: the unified one, and in a hybrid
    set-up its own."""
    found = []
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        mine = {}
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            mine[controllers] = path
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            fields, rest = fields.split(), rest.split()
            root, mount, kind, options = fields[3], fields[4], rest[0], rest[2]
            if kind == "cgroup2":
                path = mine.get("")
            elif kind == "cgroup" and "name=systemd" in options.split(","):
                path = mine.get("name=systemd")
            else:
                continue
            if path is not None:
                inside = os.path.relpath(path, root)
                place = mount if inside == "." or inside.startswith("..") else os.path.join(mount, inside)
                if place not in found and os.access(place, os.W_OK):
                    found.append(place)
    return found


def tell_children(pid, number):
    """Sends a signal to the children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        return
    for child in children:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass


