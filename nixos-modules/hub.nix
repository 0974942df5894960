# `services.kedge.hub`: the hub on this machine. The units are the package's; what is added to them here is what settings
# decide.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.services.kedge.hub;
  common = import ./common.nix { inherit lib pkgs; };

  acmeHost = cfg.tls.useACMEHost;
  # Whether or not it is there: an assertion says what is wrong when it is not.
  acme =
    config.security.acme.certs.${acmeHost} or {
      directory = "/var/lib/acme/${acmeHost}";
      group = "acme";
    };

  file = common.file {
    name = "hub.toml";
    inherit (cfg) package settings;
    # The certificate and its key are on the machine itself, and the check reads them.
    checked = cfg.settings // lib.optionalAttrs (cfg.settings.tls.certificate != null) {
      tls.mode = "self-signed";
    };
    check = cfg.checkConfig;
  };

  # What a reload takes in. A change of anything else needs a restart, which refuses nobody and cuts sessions off.
  reloaded = [
    "admins"
    "issuers"
    "login"
    "people"
  ];
  fixed = removeAttrs cfg.settings (reloaded ++ [ "log" ]) // {
    log = removeAttrs (cfg.settings.log or { }) [ "level" ];
  };

  credential =
    name: path:
    lib.optional (path != null) "${name}:${path}";
in
{
  options.services.kedge.hub = {
    enable = lib.mkEnableOption "the kedge hub, through which people reach servers by SSH";

    package = common.package "kedge-hub";

    inherit (common) checkConfig;

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the port of `settings.listen` in the firewall.";
    };

    tls = {
      useACMEHost = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "hub.example";
        description = ''
          The certificate of `security.acme.certs` to use. The hub reads a renewed one by itself.
        '';
      };
      certificateFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = "/run/agenix/hub.crt";
        description = ''
          PEM file with the certificate and its chain, for a certificate that comes from elsewhere. It is read when the
          unit starts. With neither this nor `useACMEHost` the hub makes one itself, which people and agents pin.
        '';
      };
      keyFile = mkOption {
        type = types.nullOr types.externalPath;
        default = null;
        example = "/run/agenix/hub.key";
        description = "PEM file with the private key of that certificate. root alone need be able to read it.";
      };
    };

    kubeconfigFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/agenix/kubeconfig";
      description = ''
        A kubeconfig file, with which the hub keeps its objects in a cluster. root alone need be able to read it.
      '';
    };

    settings = mkOption {
      type = common.settings {
        listen = mkOption {
          type = types.strMatching ".+:[0-9]+";
          default = "[::]:8443";
          example = "[::]:443";
          description = ''
            Address and port for people, servers and agents. systemd listens there, so that the hub needs no privilege for
            a port below 1024, and its restart refuses nobody.
          '';
        };
        admin.listen = mkOption {
          type = types.strMatching ".+:[0-9]+";
          default = "127.0.0.1:9443";
          description = ''
            Address and port of `/live`, `/ready` and `/metrics`: plain HTTP without authentication, so keep it local.
          '';
        };
        secrets.folder = mkOption {
          type = types.nullOr types.externalPath;
          default = null;
          example = "/run/kedge-secrets";
          description = ''
            Folder with servers' private keys, `NAMESPACE/NAME/KEY`, which the hub's user must be able to read.
            `/var/lib/kedge-hub/secrets` unless given.
          '';
        };
        store.kubernetes.kubeconfig = mkOption {
          type = types.nullOr common.secret;
          default = if cfg.kubeconfigFile == null then null else "credential:kubeconfig";
          defaultText = lib.literalMD "what `services.kedge.hub.kubeconfigFile` names";
          description = "A kubeconfig file, for the store in a cluster.";
        };
        tls.certificate = mkOption {
          type = types.nullOr types.str;
          default =
            if acmeHost != null then
              "${acme.directory}/fullchain.pem"
            else if cfg.tls.certificateFile != null then
              "credential:tls-certificate"
            else
              null;
          defaultText = lib.literalMD "what `services.kedge.hub.tls` says";
          description = "PEM file with the certificate and its chain.";
        };
        tls.key = mkOption {
          type = types.nullOr common.secret;
          default =
            if acmeHost != null then
              "${acme.directory}/key.pem"
            else if cfg.tls.keyFile != null then
              "credential:tls-key"
            else
              null;
          defaultText = lib.literalMD "what `services.kedge.hub.tls` says";
          description = "PEM file with the private key.";
        };
      };
      default = { };
      example = lib.literalExpression ''
        {
          issuers = [ { url = "https://id.example/realms/main"; client-id = "kedge"; } ];
          admins.groups = [ "platform" ];
        }
      '';
      description = "The hub's configuration. Every key is in [hub.toml](hub.toml.md).";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = (cfg.tls.certificateFile == null) == (cfg.tls.keyFile == null);
        message = "services.kedge.hub.tls.certificateFile and services.kedge.hub.tls.keyFile are needed together.";
      }
      {
        assertion = acmeHost == null || cfg.tls.certificateFile == null;
        message = "services.kedge.hub.tls.useACMEHost and services.kedge.hub.tls.certificateFile exclude each other.";
      }
      {
        assertion = acmeHost == null || config.security.acme.certs ? ${acmeHost};
        message = "services.kedge.hub.tls.useACMEHost: there is no security.acme.certs.${toString acmeHost}.";
      }
      {
        assertion = cfg.settings.tls.mode or "files" == "files" || cfg.settings.tls.certificate == null;
        message = "services.kedge.hub.settings.tls.mode is ${cfg.settings.tls.mode or ""}, but services.kedge.hub.tls names a certificate.";
      }
      {
        assertion = cfg.settings.state-dir or "/var/lib/kedge-hub" == "/var/lib/kedge-hub";
        message = "services.kedge.hub.settings.state-dir cannot be changed: the unit may write to /var/lib/kedge-hub only.";
      }
    ];

    environment.etc."kedge/hub.toml".source = file;
    # For `kedge-hub new-token`, `export` and `import`.
    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [
      (lib.toInt (lib.last (lib.splitString ":" cfg.settings.listen)))
    ];

    users.users.kedge-hub = {
      isSystemUser = true;
      group = "kedge-hub";
      description = "kedge hub";
    };
    users.groups.kedge-hub = { };

    systemd.packages = [ cfg.package ];

    # In place of the addresses that the package's units name.
    systemd.sockets.kedge-hub = {
      overrideStrategy = "asDropin";
      wantedBy = [ "sockets.target" ];
      listenStreams = [
        ""
        cfg.settings.listen
      ];
    };
    systemd.sockets.kedge-hub-admin = {
      overrideStrategy = "asDropin";
      wantedBy = [ "sockets.target" ];
      listenStreams = [
        ""
        cfg.settings.admin.listen
      ];
    };

    systemd.services.kedge-hub = {
      overrideStrategy = "asDropin";
      wantedBy = [ "multi-user.target" ];
      wants = lib.optional (acmeHost != null) "acme-${acmeHost}.service";
      after = lib.optional (acmeHost != null) "acme-${acmeHost}.service";
      reloadTriggers = [ file ];
      restartTriggers = [ (builtins.hashString "sha256" (builtins.toJSON fixed)) ];
      # One restart, while systemd keeps the ports open. NixOS would otherwise stop the sockets with the service.
      stopIfChanged = false;
      serviceConfig = {
        LoadCredential =
          credential "tls-certificate" cfg.tls.certificateFile
          ++ credential "tls-key" cfg.tls.keyFile
          ++ credential "kubeconfig" cfg.kubeconfigFile;
        SupplementaryGroups = lib.optional (acmeHost != null) acme.group;
      };
    };
  };
}
