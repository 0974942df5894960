# What check.py asks of Nix: the flake and its modules, evaluated with the stand-in for nixpkgs. With `lib` it is
# nixpkgs' own module system that does it: `--lib PATH` of check.py.
{
  lib ? import ./nixpkgs/lib,
}:
let
  system = "x86_64-linux";
  stub = import ./nixpkgs/lib;

  nixpkgs = {
    lib = lib // {
      nixosSystem = import ./nixpkgs/nixos-system.nix lib;
    };
    legacyPackages = lib.genAttrs stub.platforms.linux (
      system: import ./nixpkgs/pkgs.nix { inherit lib system; }
    );
  };
  self = (import ../../flake.nix).outputs { inherit self nixpkgs; };
  machine =
    module:
    import ./nixpkgs/nixos-system.nix lib {
      inherit system;
      modules = [
        self.nixosModules.default
        module
      ];
    };

  inFolder =
    folder:
    lib.mapAttrs' (
      file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (import (folder + "/${file}"))
    ) (builtins.readDir folder);

  textOf =
    entry: if entry.text != null then entry.text else entry.source.text or entry.source.toml.text;
  render =
    { config, ... }:
    builtins.seq config.system.build.toplevel.drvPath {
      files = lib.mapAttrs (_: textOf) config.environment.etc;
      checked = lib.mapAttrs (_: entry: entry.source.checked.text or null) config.environment.etc;
      units = config.system.build.units;
      ports = config.networking.firewall.allowedTCPPorts;
      programs = map toString config.environment.systemPackages;
      ssh = config.programs.ssh.extraConfig;
      users = lib.mapAttrs (_: user: { inherit (user) group isSystemUser; }) config.users.users;
    };

  refused = inFolder ./refused;
in
{
  # Each example as NixOS would have it on a machine.
  examples = lib.mapAttrs (_: module: render (machine module)) (inFolder ./examples);

  # What each refused configuration must be refused with.
  messages = lib.mapAttrs (_: one: one.message) refused;

  # Fails with such a message.
  refuse = name: (machine refused.${name}.module).config.system.build.toplevel.drvPath;

  # An example of the documentation: a module, or a whole flake.
  document =
    file:
    let
      example = import file;
      configurations = example.outputs {
        inherit nixpkgs;
        kedge = self;
      };
    in
    if example ? outputs then
      lib.mapAttrs (
        _: machine: machine.config.system.build.toplevel.drvPath
      ) configurations.nixosConfigurations
    else
      (machine example).config.system.build.toplevel.drvPath;

  # Each change, and whether it restarts the unit and has it reloaded.
  changes = lib.mapAttrs (
    _:
    {
      unit,
      option,
      from,
      to,
      restarts,
    }:
    let
      of =
        settings:
        (machine (
          lib.setAttrByPath option {
            enable = true;
            inherit settings;
          }
        )).config.systemd.services.${unit};
      differs = what: map toString (of from).${what} != map toString (of to).${what};
    in
    {
      expected = {
        reloads = from != to;
        inherit restarts;
      };
      found = {
        reloads = differs "reloadTriggers";
        restarts = differs "restartTriggers";
      };
    }
  ) (import ./changes.nix);

  # The machines of each test.
  tests = lib.mapAttrs (_: test: lib.attrNames test.nodes) (
    lib.filterAttrs (_: check: check ? nodes) self.checks.${system}
  );

  # docs/reference/nixos.md.
  reference = import ./reference.nix {
    # The stand-in's: it is what lists options.
    lib = stub;
    inherit
      (import ./nixpkgs/nixos-system.nix stub {
        modules = [
          ../../nixos-modules/agent.nix
          ../../nixos-modules/client.nix
          ../../nixos-modules/hub.nix
        ];
      })
      options
      ;
  };
}
