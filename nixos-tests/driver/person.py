"""A person who logs in at the OpenID provider, without a screen."""

import shlex

URL = "https://hub:8443"


def pin(hub):
    """The fingerprint that the hub's own certificate is believed by, as it says at its start."""
    said = hub.wait_until_succeeds("journalctl --unit=kedge-hub --output=json | grep -oE 'sha256:[A-Za-z0-9+/=_-]+'")
    return said.split()[-1]


def login(hub, machine, user, password=None):
    """Logs in the account `user` of a machine, as the person of that name; answers what `kedge login` said."""
    environment = f"BROWSER=/usr/local/bin/test-browser TEST_USER={user} TEST_PASSWORD={shlex.quote(password or 'x')}"
    command = f"{environment} kedge login {URL} --pin {pin(hub)}"
    return machine.succeed(f"su - {user} -c {shlex.quote(command)} 2>&1")
