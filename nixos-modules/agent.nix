# `services.kedge.agent`: makes this machine reachable by SSH through a hub. The units are the package's; what is added to
# them here is what settings decide.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.services.kedge.agent;
  openssh = config.services.openssh;
  common = import ./common.nix { inherit lib pkgs; };

  unixTarget = "unix:/run/kedge-sshd/socket";

  file = common.file {
    name = "agent.toml";
    inherit (cfg) package settings;
    check = cfg.checkConfig;
  };

  # A reload takes these in without dropping a session. A change of anything else needs a restart.
  reloaded = [
    "host-keys"
    "join"
    "limits"
    "target"
  ];
  fixed = removeAttrs cfg.settings (reloaded ++ [ "log" ]) // {
    log = removeAttrs (cfg.settings.log or { }) [ "level" ];
  };
in
{
  options.services.kedge.agent = {
    enable = lib.mkEnableOption "the kedge agent, which makes this machine reachable by SSH through a hub, without an open port";

    package = common.package "kedge-agent";

    inherit (common) checkConfig;

    joinTokenFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/agenix/kedge-join-token";
      description = ''
        File with the token by which this machine joins the hub of `settings.join`, as `kedge token create` prints it. It
        is read once: a machine that has joined has a key of its own, and neither needs the token nor minds that it has
        expired. systemd hands it over (`LoadCredential=`), so root alone need be able to read it.
      '';
    };

    settings = mkOption {
      type = common.settings {
        target = mkOption {
          type = types.str;
          default = "tcp:127.0.0.1:22";
          example = "tcp:127.0.0.1:2222";
          description = ''
            Where sessions go: a port of this machine, or `unix:/PATH`. Nothing else can be reached through this agent.
          '';
        };
        join = mkOption {
          type = types.nullOr (
            common.settings {
              hub = mkOption {
                type = types.strMatching "https?://.+";
                example = "https://hub.example";
                description = "The hub that this machine joins by itself.";
              };
              name = mkOption {
                type = types.nullOr types.str;
                default = null;
                example = "web01";
                description = "The server's name at the hub; this machine's host name unless given.";
              };
              labels = mkOption {
                type = types.attrsOf types.str;
                default = { };
                example = {
                  env = "prod";
                };
                description = "Labels, for policies to select by.";
              };
              token-file = mkOption {
                type = types.nullOr common.secret;
                default = if cfg.joinTokenFile == null then null else "credential:join-token";
                defaultText = lib.literalMD "what `services.kedge.agent.joinTokenFile` names";
                description = "Where the join token is.";
              };
            }
          );
          default = null;
          description = ''
            How this machine joins a hub by itself, as soon as the hub can be reached. With `null` somebody types
            `kedge-agent join` once. A machine that has joined stays what it is, whatever this says.
          '';
        };
      };
      default = { };
      example = lib.literalExpression ''
        {
          join.hub = "https://hub.example";
          join.labels.env = "prod";
        }
      '';
      description = "The agent's configuration. Every key is in [agent.toml](agent.toml.md).";
    };

    unixSshd.enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether sshd serves the agent on a unix socket and nobody else at all: it listens on no port, and the firewall
        opens none for it. Everything else about it is as `services.openssh` says.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.joinTokenFile == null || cfg.settings.join != null;
        message = "services.kedge.agent.joinTokenFile is set, but services.kedge.agent.settings.join.hub does not say which hub to join.";
      }
      {
        assertion = cfg.settings.join == null || cfg.settings.join.token-file != null;
        message = "services.kedge.agent.settings.join needs a token: set services.kedge.agent.joinTokenFile.";
      }
      {
        assertion = cfg.settings.state-dir or "/var/lib/kedge-agent" == "/var/lib/kedge-agent";
        message = "services.kedge.agent.settings.state-dir cannot be changed: the unit may write to /var/lib/kedge-agent only.";
      }
      {
        assertion = !cfg.unixSshd.enable || openssh.enable;
        message = "services.kedge.agent.unixSshd.enable needs services.openssh.enable, which configures the sshd that it starts.";
      }
      {
        assertion = !cfg.unixSshd.enable || cfg.settings.target == unixTarget;
        message = "services.kedge.agent.settings.target is ${cfg.settings.target}, but with services.kedge.agent.unixSshd.enable sshd is at ${unixTarget}.";
      }
    ];

    services.kedge.agent.settings.target = lib.mkIf cfg.unixSshd.enable (lib.mkOverride 900 unixTarget);

    environment.etc."kedge/agent.toml".source = file;
    # For `kedge-agent join` by hand.
    environment.systemPackages = [ cfg.package ];

    users.users.kedge-agent = {
      isSystemUser = true;
      group = "kedge-agent";
      description = "kedge agent";
    };
    users.groups.kedge-agent = { };

    systemd.packages = [ cfg.package ];

    systemd.sockets.kedge-agent = {
      overrideStrategy = "asDropin";
      wantedBy = [ "sockets.target" ];
    };

    systemd.services.kedge-agent = {
      overrideStrategy = "asDropin";
      wantedBy = [ "multi-user.target" ];
      # sshd's host keys are what the agent reports when it joins. Where there is no such unit, this says nothing.
      wants = [ "sshd-keygen.service" ];
      after = [ "sshd-keygen.service" ];
      reloadTriggers = [ file ];
      restartTriggers = [ (builtins.hashString "sha256" (builtins.toJSON fixed)) ];
      # Whoever switches this machine to a new configuration may do so through this very agent. One restart at the end
      # of the activation is as long as a session can wait; between a stop at its beginning and a start at its end the
      # activation itself would be cut off.
      stopIfChanged = false;
      serviceConfig = lib.mkIf (cfg.joinTokenFile != null) {
        LoadCredential = "join-token:${cfg.joinTokenFile}";
        # In its place when the file is gone: that must not keep a machine that has joined from starting its agent.
        SetCredential = "join-token:none";
      };
    };

    systemd.sockets.kedge-sshd = lib.mkIf cfg.unixSshd.enable {
      overrideStrategy = "asDropin";
      wantedBy = [ "sockets.target" ];
    };

    systemd.services."kedge-sshd@" = lib.mkIf cfg.unixSshd.enable {
      overrideStrategy = "asDropin";
      # A session lives on when this machine is switched to another configuration.
      restartIfChanged = false;
      wants = [ "sshd-keygen.service" ];
      after = [ "sshd-keygen.service" ];
      serviceConfig.ExecStart = [
        ""
        "-${openssh.package}/bin/sshd -i -f /etc/ssh/sshd_config"
      ];
    };

    # The port that sshd would listen on is its socket's then, and nothing starts that.
    services.openssh = lib.mkIf cfg.unixSshd.enable {
      startWhenNeeded = true;
      openFirewall = false;
    };
    systemd.sockets.sshd.wantedBy = lib.mkIf (cfg.unixSshd.enable && openssh.enable) (lib.mkForce [ ]);
  };
}
