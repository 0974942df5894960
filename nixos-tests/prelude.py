# Before each script, in the virtual machines: what `nixos-tests/driver` gives it on machines of Debian.
import json  # noqa: F401

_login = login  # noqa: F821 (of driver/person.py, which stands above)


def login(machine, user, password=None):
    return _login(hub, machine, user, password)  # noqa: F821


