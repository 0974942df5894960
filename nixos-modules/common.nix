# What the modules of the hub and the agent share.
{ lib, pkgs }:
let
  inherit (lib) types;
  toml = pkgs.formats.toml { };
in
{
  package =
    name:
    lib.mkOption {
      type = types.package;
      defaultText = lib.literalMD "this flake's `${name}`";
      description = "The package to use.";
    };

  # Free-form settings in which these options have names and types of their own.
  settings =
    options:
    types.submodule {
      freeformType = toml.type;
      inherit options;
    };

  # A secret in settings: what systemd loads for the unit, or a file that stays out of the store, which everybody can
  # read.
  secret = types.either (types.strMatching "credential:[A-Za-z0-9_.-]+") types.externalPath // {
    description = "`credential:NAME` or absolute path not in the Nix store";
  };

  # The file with these settings, once the program itself has found no mistake in them. `checked` is what it is shown
  # in their place, where they name files that are not there while the system is built.
  file =
    {
      name,
      package,
      settings,
      checked ? settings,
      check,
    }:
    let
      # What is not set is not written: TOML has no null.
      given =
        set:
        lib.filterAttrs (_: value: value != null && value != { }) (
          lib.mapAttrs (_: value: if lib.isAttrs value then given value else value) set
        );
      written = toml.generate name (given settings);
    in
    if check then
      pkgs.runCommand name
        {
          toml = written;
          checked = toml.generate name (given checked);
        }
        ''
          ${lib.getExe package} check-config --config "$checked"
          cp "$toml" "$out"
        ''
    else
      written;

  checkConfig = lib.mkOption {
    type = types.bool;
    default = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
    defaultText = lib.literalMD "`true`, unless built for another kind of machine";
    description = ''
      Whether the program checks its configuration while the system is built, so that a mistake in it fails the build
      and not the machine.
    '';
  };
}
