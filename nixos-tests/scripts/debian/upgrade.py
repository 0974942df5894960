"""Debian's packages: installed, upgraded from inside a session that runs through the agent that is upgraded, removed,
purged."""

import json
import shlex

TOKENS = {
    "admin": "kpt_mYw9svfkGx4nuXMQrIOZpKjHVz2CXZnUlE7wipg3If4",
    "alice": "kpt_a1kqwESL6iw-8vUC96YerHl-neKTFZCMDXqeJPDGXvM",
}
URL = "https://hub:8443"
POLICY = """
apiVersion: kedge.dev/v1alpha1
kind: AccessPolicy
metadata: {name: operators}
spec:
  subjects: {users: [alice]}
  servers: {names: ["*"]}
  logins: [root]
  permissions: [ssh]
"""
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root --no-install-recommends -y"


def as_alice(command):
    return f"su - alice -c {shlex.quote(command)}"


def show(machine, unit, name):
    return machine.succeed(f"systemctl show --value --property={name} {unit}").strip()


def version(package):
    return web01.succeed(f"dpkg-query --show --showformat='${{Version}} ${{db:Status-Abbrev}}' {package}").split()


start_all()
hub.wait_for_unit("kedge-hub.service")
web01.bring(1, "kedge", "kedge-agent", "kedge-hub")
web01.bring(2, "kedge-agent")

with subtest("packages are whole"):
    web01.succeed(f"{APT} install /var/packages/1/kedge-agent.deb /var/packages/1/kedge.deb")
    web01.succeed("dpkg --verify kedge kedge-agent")
    web01.succeed("bash -n /usr/share/bash-completion/completions/kedge")
    web01.succeed("grep -q kedge /usr/share/zsh/vendor-completions/_kedge /usr/share/fish/vendor_completions.d/kedge.fish")
    # Comments only: ssh goes on as before.
    web01.succeed("ssh -G web01.kedge > /dev/null")

with subtest("an agent that was installed runs, and will at the next boot"):
    web01.wait_for_unit("kedge-agent.service")
    for unit in ("kedge-agent.service", "kedge-agent.socket"):
        web01.succeed(f"systemctl is-enabled {unit} && systemctl is-active {unit}")
    web01.fail("systemctl is-enabled kedge-sshd.socket")

with subtest("it joins"):
    pin = hub.succeed("journalctl --unit=kedge-hub --output=json | grep -oE 'sha256:[A-Za-z0-9+/=_-]+' | tail -1").strip()
    login = f"kedge login {URL} --pin {pin} --token-file -"
    laptop.succeed(f"echo {TOKENS['admin']} | {login}")
    laptop.succeed(as_alice(f"echo {TOKENS['alice']} | {login}"))
    laptop.succeed(f"echo {shlex.quote(POLICY)} | kedge apply -f -")
    laptop.succeed(as_alice("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519"))
    key = laptop.succeed("cat /home/alice/.ssh/id_ed25519.pub").strip()
    web01.succeed(f"install -d -m 0700 /root/.ssh && echo {shlex.quote(key)} > /root/.ssh/authorized_keys")
    secret = json.loads(laptop.succeed("kedge token create -o json"))["status"]["token"]
    web01.succeed(f"echo {secret} | kedge-agent join {URL} --token-file - --pin {pin}")
    web01.succeed("kedge agent wait --connected --timeout 20s")
    laptop.wait_until_succeeds(as_alice("kedge ssh -l root web01 true"))

with subtest("its package is upgraded from inside a session through it"):
    before = show(web01, "kedge-agent", "MainPID")
    old = web01.succeed("stat -c %i /usr/bin/kedge-agent")
    # As somebody at a terminal does it: with the hang-up that ends what runs there when the session ends.
    install = f"{APT} install /var/packages/2/kedge-agent.deb && echo finished"
    said = laptop.succeed(as_alice(f"kedge ssh -l root web01 -tt {shlex.quote(install)} < /dev/null"), timeout=120)
    assert "finished" in said, said
    assert version("kedge-agent")[1] == "ii", version("kedge-agent")
    assert version("kedge-agent")[0].endswith("-2")
    web01.succeed("test -z \"$(dpkg --audit)\"")
    assert web01.succeed("stat -c %i /usr/bin/kedge-agent") != old

with subtest("the new program takes over by itself, with the state that was there"):
    web01.wait_until_succeeds(f"test $(systemctl show --value --property=MainPID kedge-agent) != {before}")
    web01.wait_for_unit("kedge-agent.service")
    web01.succeed("kedge agent wait --connected --timeout 30s")
    laptop.wait_until_succeeds(as_alice("kedge ssh -l root web01 true"))
    web01.succeed("test -e /var/lib/kedge-agent/identity.json")

with subtest("not before dpkg is done"):
    # Held by somebody else, as it is while apt asks a question.
    web01.succeed(
        "systemd-run --unit=lock python3 -c "
        "'import fcntl, time; f = open(\"/var/lib/dpkg/lock-frontend\", \"w\"); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)'"
    )
    web01.wait_until_succeeds("grep -q :$(stat -c %i /var/lib/dpkg/lock-frontend) /proc/locks")
    before = show(web01, "kedge-agent", "MainPID")
    web01.succeed("systemctl --no-block start kedge-agent-restart.service")
    web01.sleep(4)
    assert show(web01, "kedge-agent", "MainPID") == before
    web01.succeed("systemctl stop lock")
    web01.wait_until_succeeds(f"test $(systemctl show --value --property=MainPID kedge-agent) != {before}")

with subtest("a configuration that was edited stays at an upgrade"):
    web01.succeed("echo '# mine' >> /etc/kedge/agent.toml")
    web01.succeed(f"{APT} -o Dpkg::Options::=--force-confold --allow-downgrades install /var/packages/1/kedge-agent.deb")
    web01.succeed("grep -q mine /etc/kedge/agent.toml")
    web01.wait_until_fails("systemctl is-active kedge-agent-restart.service")

with subtest("what an administrator disabled stays so"):
    web01.succeed("systemctl disable --now kedge-agent.service kedge-agent.socket")
    web01.succeed(f"{APT} -o Dpkg::Options::=--force-confold install /var/packages/2/kedge-agent.deb")
    web01.fail("systemctl is-enabled kedge-agent.service")
    web01.fail("systemctl is-active kedge-agent.service")
    web01.succeed("systemctl enable --now kedge-agent.socket kedge-agent.service")

with subtest("removed, it is gone from memory; its state and its configuration stay"):
    web01.succeed(f"{APT} remove kedge-agent")
    web01.fail("systemctl is-active kedge-agent.service || systemctl is-active kedge-agent.socket")
    web01.fail("pgrep -x kedge-agent")
    web01.succeed("test -e /var/lib/kedge-agent/identity.json && grep -q mine /etc/kedge/agent.toml")

with subtest("installed again, it is who it was"):
    web01.succeed(f"{APT} -o Dpkg::Options::=--force-confold install /var/packages/2/kedge-agent.deb")
    web01.wait_for_unit("kedge-agent.service")
    web01.succeed("kedge agent wait --connected --timeout 30s")

with subtest("purged, nothing is left"):
    web01.succeed(f"{APT} purge kedge-agent kedge")
    web01.fail("test -e /var/lib/kedge-agent || test -e /etc/kedge || test -e /run/kedge-agent/control.sock")
    web01.fail("find /etc/systemd /var/lib/systemd/deb-systemd-helper* -name 'kedge*' | grep .")

with subtest("a hub comes and goes in the same way"):
    web01.succeed(f"{APT} install /var/packages/1/kedge-hub.deb")
    web01.wait_for_unit("kedge-hub.service")
    web01.wait_for_open_port(8443)
    web01.succeed(f"{APT} purge kedge-hub")
    web01.fail("test -e /var/lib/kedge-hub || test -e /etc/kedge")
    web01.wait_for_closed_port(8443)
