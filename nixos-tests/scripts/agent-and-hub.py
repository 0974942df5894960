"""A person, a hub, a server: joined, used, reloaded, restarted, cut off, and started in every order."""

import json
import shlex

# Their hashes are in settings/hub.toml.
TOKENS = {
    "admin": "kpt_mYw9svfkGx4nuXMQrIOZpKjHVz2CXZnUlE7wipg3If4",
    "alice": "kpt_a1kqwESL6iw-8vUC96YerHl-neKTFZCMDXqeJPDGXvM",
}
URL = "https://hub:8443"
POLICY = """
apiVersion: kedge.dev/v1alpha1
kind: AccessPolicy
metadata: {name: developers}
spec:
  subjects: {groups: [dev]}
  servers: {matchLabels: {env: test}}
  logins: ["{login}"]
  permissions: [ssh]
"""


def as_alice(command):
    return f"su - alice -c {shlex.quote(command)}"


def show(machine, unit, name):
    return machine.succeed(f"systemctl show --value --property={name} {unit}").strip()


def state():
    return json.loads(web01.succeed("kedge agent status -o json"))


start_all()
hub.wait_for_unit("kedge-hub.service")
hub.wait_for_open_port(8443)
web01.wait_for_unit("kedge-agent.service")

with subtest("a server that has not joined is ready, and says what to do"):
    assert "kedge-agent join" in show(web01, "kedge-agent", "StatusText")
    assert state()["state"] == "not-joined"

with subtest("people log in, and the administrator lets them in"):
    pin = hub.succeed("journalctl --unit=kedge-hub --output=json | grep -oE 'sha256:[A-Za-z0-9+/=_-]+' | tail -1").strip()
    login = f"kedge login {URL} --pin {pin} --token-file -"
    laptop.succeed(f"echo {TOKENS['admin']} | {login}")
    laptop.succeed(as_alice(f"echo {TOKENS['alice']} | {login}"))
    laptop.succeed(f"echo {shlex.quote(POLICY)} | kedge apply -f -")
    laptop.succeed(as_alice("kedge ssh-config --write && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519"))
    key = laptop.succeed("cat /home/alice/.ssh/id_ed25519.pub").strip()
    web01.succeed(
        f"install -d -m 0700 -o alice /home/alice/.ssh && echo {shlex.quote(key)} > /home/alice/.ssh/authorized_keys"
    )

with subtest("a server joins, and begins without a restart"):
    before = show(web01, "kedge-agent", "MainPID")
    token = laptop.succeed("kedge token create --label env=test -o json")
    secret = json.loads(token)["status"]["token"]
    web01.succeed(f"echo {secret} | kedge-agent join {URL} --token-file - --pin {pin}")
    web01.succeed("kedge agent wait --connected --timeout 20s")
    assert show(web01, "kedge-agent", "MainPID") == before

with subtest("plain ssh reaches it, as whom the hub says"):
    assert laptop.succeed(as_alice("ssh web01.kedge id -un")).strip() == "alice"

with subtest("the journal has what happened as fields, and an id to find it by"):
    line = hub.succeed("journalctl --unit=kedge-hub --output=json | grep session.opened | tail -1")
    event = json.loads(line)
    assert len(event["MESSAGE_ID"]) == 32, event
    assert hub.succeed(f"journalctl --output=cat MESSAGE_ID={event['MESSAGE_ID']}").strip()

with subtest("asking a stopped agent starts it"):
    web01.succeed("systemctl stop kedge-agent.service")
    web01.fail("systemctl is-active kedge-agent.service")
    assert state()["state"] in ("connecting", "connected")
    web01.succeed("systemctl is-active kedge-agent.service")
    web01.succeed("kedge agent wait --connected --timeout 20s")

with subtest("a reload keeps processes and streams"):
    pids = show(web01, "kedge-agent", "MainPID"), show(hub, "kedge-hub", "MainPID")
    count = "for i in $(seq 30); do echo $i; sleep 0.1; done"
    laptop.succeed(f"systemd-run --unit=stream --uid=alice sh -c {shlex.quote(f'ssh web01.kedge {shlex.quote(count)} > /tmp/stream; echo $? >> /tmp/stream')}")
    laptop.wait_until_succeeds("grep -qx 5 /tmp/stream")
    web01.succeed("systemctl reload kedge-agent")
    hub.succeed("systemctl reload kedge-hub")
    web01.succeed("kedge agent reload")
    laptop.wait_until_fails("systemctl is-active stream")
    expected = [str(number) for number in range(1, 31)] + ["0"]
    assert laptop.succeed("cat /tmp/stream").split() == expected
    assert pids == (show(web01, "kedge-agent", "MainPID"), show(hub, "kedge-hub", "MainPID"))

with subtest("a configuration that is wrong is refused, and the old one stays"):
    # Where configurations are made by hand only.
    if web01.execute("test -w /etc/kedge/agent.toml && cp /etc/kedge/agent.toml /tmp/agent.toml")[0] == 0:
        web01.succeed("echo 'targett = 1' >> /etc/kedge/agent.toml")
        web01.fail("kedge agent reload")
        web01.succeed("cp /tmp/agent.toml /etc/kedge/agent.toml && kedge agent reload")
    assert pids[0] == show(web01, "kedge-agent", "MainPID")

with subtest("a hub that restarts under load refuses nobody"):
    # Each connects and, at the same time, asks a question: both wait for the new hub, and neither fails.
    connect = "while sleep 0.01; do if exec 3<>/dev/tcp/hub/8443; then echo good; else echo refused; fi; exec 3>&-; done"
    ask = "while sleep 0.1; do if kedge get servers; then echo good; else echo refused; fi; done"
    laptop.succeed(f"systemd-run --unit=connects bash -c {shlex.quote(connect + ' > /tmp/connects')}")
    laptop.succeed(f"systemd-run --unit=asks --setenv=HOME=/root bash -c {shlex.quote(ask + ' > /tmp/asks 2>&1')}")
    laptop.wait_until_succeeds("test $(grep -c good /tmp/connects) -gt 20 && grep -q good /tmp/asks")
    before = show(hub, "kedge-hub", "MainPID")
    hub.succeed("systemctl restart kedge-hub")
    assert show(hub, "kedge-hub", "MainPID") != before
    seen = int(laptop.succeed("grep -c good /tmp/connects"))
    laptop.wait_until_succeeds(f"test $(grep -c good /tmp/connects) -gt {seen + 20}")
    laptop.succeed("systemctl stop connects asks")
    laptop.fail("grep refused /tmp/connects")
    laptop.fail("grep -B3 refused /tmp/asks >&2")

with subtest("agents come back to it by themselves"):
    laptop.wait_until_succeeds(as_alice("ssh web01.kedge true"))

with subtest("a hub that stands still is started again"):
    # Half a minute is long for a test.
    hub.succeed("mkdir -p /run/systemd/system/kedge-hub.service.d")
    hub.succeed("printf '[Service]\\nWatchdogSec=2\\n' > /run/systemd/system/kedge-hub.service.d/test.conf")
    hub.succeed("systemctl daemon-reload && systemctl restart kedge-hub")
    stuck = show(hub, "kedge-hub", "MainPID")
    hub.succeed(f"kill -STOP {stuck}")
    hub.wait_until_fails(f"kill -0 {stuck}")
    hub.wait_until_succeeds("systemctl is-active kedge-hub")
    assert "watchdog" in hub.succeed("journalctl --unit=kedge-hub --output=cat").lower()
    hub.succeed("rm /run/systemd/system/kedge-hub.service.d/test.conf && systemctl daemon-reload")
    laptop.wait_until_succeeds(as_alice("ssh web01.kedge true"))

with subtest("a server whose cable was pulled comes back"):
    web01.block()
    web01.wait_until_succeeds("kedge agent status -o json | grep -q connecting", timeout=90)
    web01.unblock()
    web01.succeed("kedge agent wait --connected --timeout 60s", timeout=70)
    laptop.wait_until_succeeds(as_alice("ssh web01.kedge true"))

with subtest("a server that boots while its hub cannot be reached is ready at once, and says what it waits for"):
    hub.block()
    web01.crash()
    web01.start()
    web01.wait_for_unit("kedge-agent.service")
    info = web01.get_unit_info("kedge-agent.service")
    took = int(info["ActiveEnterTimestampMonotonic"]) - int(info["ExecMainStartTimestampMonotonic"])
    assert took < 1_000_000, f"{took} µs"
    text = info["StatusText"]
    assert "hub" in text, text
    hub.unblock()
    web01.succeed("kedge agent wait --connected --timeout 60s", timeout=70)
    laptop.wait_until_succeeds(as_alice("ssh web01.kedge true"))
