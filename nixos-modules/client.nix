# `programs.kedge`: the command line for the people of this machine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.kedge;
  common = import ./common.nix { inherit lib pkgs; };
in
{
  options.programs.kedge = {
    enable = lib.mkEnableOption "kedge, the command line of people who reach servers through a hub";

    package = common.package "kedge";

    sshConfig = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether plain `ssh` reads what `kedge ssh-config --write` wrote into a person's `~/.config/kedge/ssh_config`, also
        where their `~/.ssh/config` cannot be written (home-manager's).
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    # `%d` is the home of whoever runs ssh, which OpenSSH 9.9 and later know here. Without such a file nothing happens.
    programs.ssh.extraConfig = lib.mkIf cfg.sshConfig (lib.mkBefore "Include %d/.config/kedge/ssh_config");
  };
}
