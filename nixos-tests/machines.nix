# The machines of the tests, as each script finds them.
{ self, pkgs }:
let
  inherit (pkgs) lib;

  accounts = names: {
    users.users = lib.genAttrs names (_: {
      isNormalUser = true;
    });
  };

  # An authority, and a certificate of the OpenID provider, made anew wherever the tests are built.
  certificates =
    pkgs.runCommand "kedge-test-certificates" { nativeBuildInputs = [ pkgs.openssl ]; }
      ''
        mkdir "$out"
        cd "$out"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
          -subj "/CN=test authority" -keyout ca.key -out ca.crt
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=idp -keyout idp.key -out idp.csr
        echo subjectAltName=DNS:idp > idp.ext
        openssl x509 -req -in idp.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile idp.ext -out idp.crt
      '';

  # What the hub needs in a cluster, as an overlay makes it of the manifests that are shipped.
  manifests =
    let
      kustomization = {
        apiVersion = "kustomize.config.k8s.io/v1beta1";
        kind = "Kustomization";
        namespace = "kedge";
        resources = [
          "base/crd"
          "base/rbac.yaml"
          "base/state.yaml"
        ];
      };
    in
    pkgs.runCommand "kedge-manifests" { kustomization = builtins.toJSON kustomization; } ''
      cp -r ${../manifests} "$out"
      chmod u+w "$out"
      echo "$kustomization" > "$out/kustomization.yaml"
    '';

  hubWith = settings: {
    services.kedge.hub = {
      enable = true;
      inherit settings;
    };
  };
  settings = file: lib.importTOML (./scripts/settings + "/${file}");
in
{
  defaults = {
    imports = [ self.nixosModules.default ];
    documentation.enable = false;
    networking.firewall.enable = false;
    system.stateVersion = "26.05";
    # For `systemd-run`, whose commands would otherwise find no programs.
    systemd.settings.Manager.DefaultEnvironment = "PATH=/run/wrappers/bin:/run/current-system/sw/bin";
    virtualisation.memorySize = lib.mkDefault 768;
  };

  hub = hubWith (settings "hub.toml");

  # People come from the OpenID provider, objects and keys from the cluster.
  hubOfIdentities =
    let
      identity = settings "identity.toml";
    in
    {
      imports = [
        (hubWith (
          identity
          // {
            # Where it is while the system is built, and the configuration checked.
            issuers = map (issuer: issuer // { ca-file = "${certificates}/ca.crt"; }) identity.issuers;
          }
        ))
      ];
      environment.etc."kedge/test-ca.crt".source = "${certificates}/ca.crt";
    };

  # An agent that has not joined.
  web01 = {
    imports = [
      (accounts [
        "alice"
        "bob"
      ])
    ];
    programs.kedge.enable = true;
    services.openssh.enable = true;
    services.kedge.agent.enable = true;
  };

  laptop = {
    imports = [
      (accounts [
        "admin"
        "alice"
        "bob"
        "carol"
      ])
    ];
    programs.kedge.enable = true;
    # dex knows people by their addresses.
    systemd.tmpfiles.rules = [
      "L+ /usr/local/bin/test-browser - - - - ${
        lib.getExe (
          pkgs.writeShellApplication {
            name = "test-browser";
            runtimeInputs = [ pkgs.python3 ];
            text = ''
              export TEST_USER="$TEST_USER@example.com"
              exec python3 ${./driver/browser.py} "$@"
            '';
          }
        )
      }"
    ];
  };

  # An API server, and nothing that would need an image.
  cluster = {
    virtualisation.memorySize = 2048;
    environment.systemPackages = [ pkgs.kubectl ];
    environment.variables.KUBECONFIG = "/etc/rancher/k3s/k3s.yaml";
    environment.etc."kedge-manifests".source = manifests;
    services.k3s = {
      enable = true;
      role = "server";
      disableAgent = true;
      disable = [
        "coredns"
        "local-storage"
        "metrics-server"
        "servicelb"
        "traefik"
      ];
      extraFlags = [
        "--disable-cloud-controller"
        "--disable-helm-controller"
        "--disable-network-policy"
        "--tls-san=cluster"
      ];
    };
  };

  # With `preferredUsername` and `groups` in staticPasswords: dex 2.45 and later.
  idp = {
    services.dex = {
      enable = true;
      settings = {
        issuer = "https://idp:8443";
        storage.type = "memory";
        web = {
          https = "0.0.0.0:8443";
          tlsCert = "${certificates}/idp.crt";
          tlsKey = "${certificates}/idp.key";
        };
        oauth2.skipApprovalScreen = true;
        enablePasswordDB = true;
        staticClients = [
          {
            id = "kedge";
            name = "kedge";
            # And no redirectURIs: any port of a loopback address will do.
            public = true;
          }
        ];
        staticPasswords =
          lib.mapAttrsToList
            (
              name: claims:
              claims
              // {
                email = "${name}@example.com";
                username = name;
                userID = name;
                # Of "x".
                hash = "$2b$10$012345678901234567890u9H5JUZk5UJiu7LVlfrgx0JP2PkblN0e";
              }
            )
            {
              admin = {
                preferredUsername = "admin";
                groups = [ "ops" ];
              };
              alice = {
                preferredUsername = "alice";
                groups = [ "dev" ];
              };
              bob = {
                preferredUsername = "bob";
                groups = [ "dev" ];
              };
              # Nothing that could be a login.
              carol.groups = [ "dev" ];
            };
      };
    };
  };
}
