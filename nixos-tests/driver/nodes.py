"""The machines of each script: what is installed on them, and how that is configured. `nixos-tests/*.nix` says the same
for the VMs."""

import dataclasses
import json
import os

import authority

HERE = os.path.dirname(os.path.abspath(__file__))
SETTINGS = os.path.join(os.path.dirname(HERE), "scripts", "settings")


@dataclasses.dataclass
class Node:
    """A machine to be."""

    name: str
    packages: list = dataclasses.field(default_factory=list)
    users: list = dataclasses.field(default_factory=list)
    # On the disk before the first boot, by path.
    files: dict = dataclasses.field(default_factory=dict)
    # Once, after the first boot.
    commands: list = dataclasses.field(default_factory=list)
    # Of the host, read-only: where it is there, and where here.
    shared: dict = dataclasses.field(default_factory=dict)


def of(script, arguments):
    """The machines of a script, in the order in which they start."""
    return SCRIPTS[script](arguments)


def settings(name):
    """A configuration that VMs and machines share."""
    with open(os.path.join(SETTINGS, name), encoding="utf-8") as file:
        return file.read()


def hub(configuration):
    """A machine with a hub."""
    return Node("hub", ["kedge-hub"], files={"/etc/kedge/hub.toml": configuration})


def server(name, configuration=""):
    """A machine with an agent that has not joined, and people's accounts."""
    return Node(name, ["kedge-agent", "kedge"], ["alice", "bob"], {"/etc/kedge/agent.toml": configuration})


def laptop():
    """A machine that people sit at."""
    return Node("laptop", ["kedge"], ["admin", "alice", "bob", "carol"])


def agent_and_hub(_arguments):
    """A person, a hub, a server."""
    return [hub(settings("hub.toml")), server("web01"), laptop()]


def unix_sshd(_arguments):
    """A server whose sshd listens on a unix socket only."""
    web01 = server("web01", 'target = "unix:/run/kedge-sshd/socket"\n')
    web01.commands = ["systemctl disable --now ssh.service ssh.socket", "systemctl enable --now kedge-sshd.socket"]
    return [hub(settings("hub.toml")), web01, laptop()]


def upgrade(_arguments):
    """Nothing is installed on the server: the script does that. The packages of both revisions are there."""
    web01 = Node("web01", users=["alice"])
    return [hub(settings("hub.toml")), web01, laptop()]


def identity(arguments):
    """A cluster and an OpenID provider besides."""
    made = authority.Authority(arguments.inside, ["cluster", "idp"])
    trusted = {"/usr/local/share/ca-certificates/test.crt": made.certificate}
    tls = lambda name: {"/etc/tls.crt": made.chain(name), "/etc/tls.key": made.key(name)}  # noqa: E731
    cluster = Node(
        "cluster",
        files={
            **tls("cluster"),
            "/etc/systemd/system/etcd.service": read("units/etcd.service"),
            "/etc/systemd/system/kube-apiserver.service": read("units/kube-apiserver.service"),
            "/etc/kubernetes/tokens.csv": 'test-administrator,admin,admin,"system:masters"\n',
            "/root/.kube/config": kubeconfig("test-administrator", made.certificate),
        },
        commands=["openssl-free-key /etc/kubernetes/service-accounts.pem", "systemctl start etcd kube-apiserver"],
        shared={arguments.kubernetes: "/usr/local/bin/kubernetes"},
    )
    cluster.files["/usr/local/sbin/openssl-free-key"] = (
        "#!/bin/sh\n# ssh-keygen knows the form that the API server wants of its key.\n"
        'exec ssh-keygen -q -t ecdsa -m PEM -N "" -f "$1"\n'
    )
    cluster.files["/usr/local/bin/kubectl"] = '#!/bin/sh\nexec /usr/local/bin/kubernetes/kubectl "$@"\n'
    with open(arguments.provider_program, encoding="utf-8") as file:
        program = file.read()
    cluster.files.update(manifests())
    idp = Node(
        "idp",
        files={
            **tls("idp"),
            "/etc/idp.json": json.dumps(provider_options()),
            "/usr/local/lib/provider.mjs": program,
            "/etc/systemd/system/idp.service": read("units/idp.service"),
        },
        commands=["systemctl start idp", "until exec 3<>/dev/tcp/localhost/8443; do sleep 0.1; done"],
        shared={arguments.provider: "/usr/local/lib/provider", arguments.node: "/usr/local/bin/node"},
    )
    the_hub = hub(settings("identity.toml"))
    the_hub.files.update(trusted)
    the_hub.files["/etc/kedge/test-ca.crt"] = made.certificate
    person_at = laptop()
    with open(os.path.join(HERE, "browser.py"), encoding="utf-8") as file:
        person_at.files["/usr/local/bin/test-browser"] = file.read()
    return [cluster, idp, the_hub, server("web01"), person_at]


def manifests():
    """What the hub needs in a cluster, as an overlay makes it of the manifests that are shipped."""
    top = os.path.join(os.path.dirname(os.path.dirname(HERE)), "manifests")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "kedge",
        "resources": ["base/crd", "base/rbac.yaml", "base/state.yaml"],
    }
    files = {"/etc/kedge-manifests/kustomization.yaml": json.dumps(kustomization)}
    for folder in ("base", "base/crd", "components/secrets-namespace"):
        for name in os.listdir(os.path.join(top, folder)):
            path = os.path.join(top, folder, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as file:
                    files[f"/etc/kedge-manifests/{folder}/{name}"] = file.read()
    return files


def provider_options():
    """People and what the provider says of them. Carol has no name that could be a login."""
    people = {}
    for name, claims in {
        "alice": {"preferred_username": "alice", "groups": ["dev"]},
        "bob": {"preferred_username": "bob", "groups": ["dev"]},
        "carol": {"groups": ["dev"]},
        "admin": {"preferred_username": "admin", "groups": ["ops"]},
    }.items():
        people[name] = {"email": f"{name}@example.com", "email_verified": True, **claims}
    return {
        "port": 8443,
        "host": "0.0.0.0",
        "url": "https://idp:8443",
        "tls": {"key": "/etc/tls.key", "cert": "/etc/tls.crt"},
        "algorithm": "RS256",
        "clientId": "kedge",
        "tokenLife": 3600,
        "redirects": ["http://127.0.0.1/", "http://127.0.0.1/callback"],
        "people": people,
    }


def kubeconfig(token, certificate):
    """As `kubectl` and the hub read it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": "https://cluster:6443",
                        "certificate-authority-data": authority.base64_of(certificate),
                    },
                }
            ],
            "users": [{"name": "test", "user": {"token": token}}],
        }
    )


def read(name):
    """A file beside this one."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


SCRIPTS = {
    "agent-and-hub": agent_and_hub,
    "hardening": lambda arguments: agent_and_hub(arguments)[:2],
    "identity": identity,
    "unix-sshd": unix_sshd,
    "upgrade": upgrade,
}
