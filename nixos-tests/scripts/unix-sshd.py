"""A server without an open port: sshd listens on a unix socket that only the agent may enter."""

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
metadata: {name: developers}
spec:
  subjects: {groups: [dev]}
  servers: {names: ["*"]}
  logins: ["{login}"]
  permissions: [ssh]
"""


def as_alice(command):
    return f"su - alice -c {shlex.quote(command)}"


start_all()
hub.wait_for_unit("kedge-hub.service")
hub.wait_for_open_port(8443)
web01.wait_for_unit("kedge-sshd.socket")
web01.wait_for_unit("kedge-agent.service")

with subtest("nothing listens on TCP"):
    assert web01.succeed("ss --no-header --listening --tcp").strip() == ""

with subtest("the socket is the agent's alone"):
    assert web01.succeed("stat -c '%U %a' /run/kedge-sshd/socket").split() == ["kedge-agent", "600"]

with subtest("a session is opened through it"):
    pin = hub.succeed("journalctl --unit=kedge-hub --output=json | grep -oE 'sha256:[A-Za-z0-9+/=_-]+' | tail -1").strip()
    login = f"kedge login {URL} --pin {pin} --token-file -"
    laptop.succeed(f"echo {TOKENS['admin']} | {login}")
    laptop.succeed(as_alice(f"echo {TOKENS['alice']} | {login}"))
    laptop.succeed(f"echo {shlex.quote(POLICY)} | kedge apply -f -")
    laptop.succeed(as_alice("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519"))
    key = laptop.succeed("cat /home/alice/.ssh/id_ed25519.pub").strip()
    web01.succeed(
        f"install -d -m 0700 -o alice /home/alice/.ssh && echo {shlex.quote(key)} > /home/alice/.ssh/authorized_keys"
    )
    secret = json.loads(laptop.succeed("kedge token create -o json"))["status"]["token"]
    web01.succeed(f"echo {secret} | kedge-agent join {URL} --token-file - --pin {pin}")
    web01.succeed("kedge agent wait --connected --timeout 20s")
    laptop.wait_until_succeeds(as_alice("kedge ssh web01 true"))
    said = laptop.succeed(as_alice("kedge ssh web01 id -un"))
    assert said.strip() == "alice", said

with subtest("what the package has for everybody on a machine works as soon as it is no comment"):
    # Where there are such packages.
    fragment = "/etc/ssh/ssh_config.d/50-kedge.conf"
    if laptop.execute(f"test -f {fragment}")[0] == 0:
        laptop.fail(as_alice("ssh -o BatchMode=yes web01.kedge true"))
        laptop.succeed(f"sed -i -E 's/^#(Match|    )/\\1/' {fragment}")
        # A login makes it; `su` is none.
        laptop.succeed("install -d -m 0700 -o alice /run/user/$(id -u alice)")
        assert laptop.succeed(as_alice("ssh web01.kedge id -un")).strip() == "alice"

with subtest("people's sessions are not confined as the agent is"):
    said = laptop.succeed(as_alice("kedge ssh web01 'grep -E ^CapBnd /proc/self/status; touch ~/here; echo $HOME'"))
    assert "/home/alice" in said and "CapBnd:\t0000000000000000" not in said, said

with subtest("what somebody leaves running goes on"):
    laptop.succeed(as_alice("kedge ssh web01 'nohup sleep 1000 > /dev/null 2>&1 &'"))
    web01.succeed("pgrep -u alice -x sleep")

with subtest("an ended session leaves no unit behind"):
    web01.wait_until_succeeds("test -z \"$(systemctl list-units --no-legend --state=failed 'kedge-sshd@*')\"")

with subtest("still nothing listens on TCP"):
    assert web01.succeed("ss --no-header --listening --tcp").strip() == ""
