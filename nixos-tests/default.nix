# The tests in virtual machines, by name. Each script in `scripts/` is one; the same scripts run without Nix, on machines
# that `cargo xtask test machines` makes of Debian. What is here gives them the same machines to speak of:
# `driver/nodes.py` says the same for those.
{ self, pkgs }:
let
  inherit (pkgs) lib;

  machines = import ./machines.nix { inherit self pkgs; };

  test =
    name: nodes:
    pkgs.testers.runNixOSTest {
      inherit name nodes;
      inherit (machines) defaults;
      testScript = lib.concatMapStrings builtins.readFile [
        ./driver/person.py
        ./prelude.py
        (./scripts + "/${name}.py")
      ];
      # They are checked by nixos-tests/offline, and by running them without Nix.
      skipLint = true;
      skipTypeCheck = true;
      globalTimeout = 1200;
    };
in
lib.mapAttrs test {
  agent-and-hub = {
    inherit (machines) hub laptop web01;
  };
  hardening = {
    inherit (machines) hub web01;
  };
  identity = {
    inherit (machines)
      cluster
      idp
      laptop
      web01
      ;
    hub = machines.hubOfIdentities;
  };
  unix-sshd = {
    inherit (machines) hub laptop;
    web01.imports = [
      machines.web01
      { services.kedge.agent.unixSshd.enable = true; }
    ];
  };
}
