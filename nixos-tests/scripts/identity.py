"""The whole way of an identity: a person logs in at an OpenID provider, the hub reads a key from a Secret of a cluster,
and sshd lets in who the provider says it is, with a key that nobody has."""

import base64
import json
import shlex

URL = "https://hub:8443"
OBJECTS = """
apiVersion: kedge.dev/v1alpha1
kind: AccessPolicy
metadata: {name: developers, namespace: kedge}
spec:
  subjects: {groups: [dev]}
  servers: {names: ["*"]}
  logins: ["{login}"]
  permissions: [ssh]
"""


def as_user(user, command):
    return f"su - {user} -c {shlex.quote(command)}"


def apply(text):
    cluster.succeed(f"echo {shlex.quote(text)} | kubectl apply -f -")


def inject(number):
    """Makes a key, gives it to the Secret and to the accounts of the server; no person ever sees it."""
    cluster.succeed(f"rm -f /tmp/key* && ssh-keygen -q -t ed25519 -N '' -C {number} -f /tmp/key")
    cluster.succeed(
        "kubectl --namespace ssh-keys create secret generic web01 --from-file=ssh-privatekey=/tmp/key "
        "--dry-run=client -o json | kubectl apply -f -"
    )
    public = shlex.quote(cluster.succeed("cat /tmp/key.pub").strip())
    for user in ("alice", "bob"):
        web01.succeed(f"install -d -m 0700 -o {user} /home/{user}/.ssh && echo {public} > /home/{user}/.ssh/authorized_keys")


start_all()

with subtest("a cluster has kedge's kinds, and a hub that may use them"):
    cluster.wait_until_succeeds("kubectl get --raw /readyz")
    cluster.succeed("kubectl create namespace kedge && kubectl create namespace ssh-keys")
    # A copy, since kustomize follows no links out of its folder.
    cluster.succeed("cp -rL /etc/kedge-manifests /tmp/manifests && kubectl apply -k /tmp/manifests")
    cluster.succeed("kubectl apply -f /tmp/manifests/components/secrets-namespace/rbac.yaml")
    cluster.wait_until_succeeds("kubectl --namespace kedge get servers,accesspolicies,jointokens")
    config = json.loads(cluster.succeed("kubectl config view --raw --flatten -o json"))
    config["clusters"][0]["cluster"]["server"] = "https://cluster:6443"
    token = cluster.succeed("kubectl --namespace kedge create token kedge-hub --duration=1h").strip()
    config["users"][0]["user"] = {"token": token}
    text = base64.b64encode(json.dumps(config).encode()).decode()
    hub.succeed(f"echo {text} | base64 -d > /root/kubeconfig")
    hub.succeed("install -m 0400 -o kedge-hub /root/kubeconfig /var/lib/kedge-hub/kubeconfig")
    hub.succeed("systemctl restart kedge-hub")
    hub.wait_until_succeeds("curl --fail --silent http://127.0.0.1:9443/ready")

with subtest("a server joins, and its key is in a Secret"):
    apply(OBJECTS)
    inject(1)
    login(laptop, "admin")
    made = laptop.succeed(as_user("admin", "kedge token create --server web01 -o json"))
    secret = json.loads(made)["status"]["token"]
    pin = hub.succeed("journalctl --unit=kedge-hub --output=json | grep -oE 'sha256:[A-Za-z0-9+/=_-]+' | tail -1").strip()
    web01.succeed(f"echo {secret} | kedge-agent join {URL} --token-file - --pin {pin} --name web01")
    web01.wait_until_succeeds("kedge agent wait --connected --timeout 20s")
    patch = json.dumps({"spec": {"sshKeySecretRef": {"namespace": "ssh-keys", "name": "web01"}}})
    cluster.succeed(f"kubectl --namespace kedge patch server web01 --type=merge -p {shlex.quote(patch)}")

with subtest("two people are two logins, and have no key"):
    for user in ("alice", "bob"):
        login(laptop, user)
        laptop.fail(f"ls /home/{user}/.ssh/id_*")
        said = laptop.wait_until_succeeds(as_user(user, "kedge ssh web01 id -un"), timeout=30)
        assert said.strip() == user, said
    said = laptop.succeed(as_user("alice", "kedge ssh-config --write && ssh web01.kedge id -un"))
    assert said.strip().endswith("alice"), said

with subtest("nobody is somebody else"):
    laptop.fail(as_user("alice", "kedge ssh -l bob web01 true"))
    laptop.fail(as_user("bob", "kedge ssh -l root web01 true"))

with subtest("whom the provider gives no login is refused, and is no default user"):
    login(laptop, "carol")
    laptop.fail(as_user("carol", "kedge ssh web01 true"))
    web01.fail("journalctl --unit=ssh --unit=sshd | grep carol")

with subtest("the next session has the key that the Secret has by then"):
    inject(2)
    said = laptop.wait_until_succeeds(as_user("alice", "kedge ssh web01 id -un"), timeout=30)
    assert said.strip() == "alice", said

with subtest("without the Secret there is no session, and no other way in"):
    cluster.succeed("kubectl --namespace ssh-keys delete secret web01")
    laptop.wait_until_fails(as_user("alice", "kedge ssh web01 true"), timeout=30)
    laptop.fail(as_user("bob", "kedge ssh web01 true"))

with subtest("the hub keeps running while its cluster does not answer, and goes on when it does"):
    inject(3)
    laptop.wait_until_succeeds(as_user("alice", "kedge ssh web01 true"), timeout=30)
    cluster.block()
    hub.succeed("systemctl is-active kedge-hub")
    cluster.unblock()
    laptop.wait_until_succeeds(as_user("bob", "kedge ssh web01 true"))
