# The options of NixOS that this project's modules and test machines set, and what NixOS makes of its units.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  simple =
    type: default:
    mkOption {
      inherit type default;
      internal = true;
    };
  texts = simple (types.listOf types.str) [ ];
  ports = simple (types.listOf types.port) [ ];
  flag = simple types.bool;
  free = simple (types.attrsOf types.anything) { };
  list = simple (types.listOf types.unspecified) [ ];

  # One value of a directive, or several of a directive that may be repeated.
  directive =
    let
      scalar = types.oneOf [
        types.bool
        types.int
        types.float
        types.str
        types.path
        types.package
      ];
    in
    (types.either scalar (types.listOf scalar))
    // {
      description = "systemd option";
      merge =
        path: definitions:
        if lib.any (one: lib.isList one.value) definitions then
          lib.concatMap (one: lib.toList one.value) definitions
        else
          types.anything.merge path definitions;
    };
  section = simple (types.attrsOf directive) { };

  unit = {
    after = texts;
    before = texts;
    bindsTo = texts;
    conflicts = texts;
    description = simple types.singleLineStr "";
    documentation = texts;
    enable = flag true;
    overrideStrategy = simple (types.enum [
      "asDropin"
      "asDropinIfExists"
    ]) "asDropinIfExists";
    partOf = texts;
    requiredBy = texts;
    requires = texts;
    unitConfig = section;
    wantedBy = texts;
    wants = texts;
  };
  service = types.submodule {
    options = unit // {
      environment = simple (types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      )) { };
      path = list;
      preStart = simple types.lines "";
      reloadTriggers = list;
      restartIfChanged = flag true;
      restartTriggers = list;
      script = simple types.lines "";
      serviceConfig = section;
      stopIfChanged = flag true;
    };
  };
  socket = types.submodule {
    options = unit // {
      listenStreams = texts;
      socketConfig = section;
    };
  };

  etc = types.submodule {
    options = {
      group = simple types.str "root";
      mode = simple types.str "symlink";
      source = mkOption {
        type = types.nullOr types.path;
        default = null;
        internal = true;
      };
      text = simple (types.nullOr types.lines) null;
      user = simple types.str "root";
    };
  };
  user = types.submodule {
    options = {
      createHome = flag false;
      description = simple types.str "";
      extraGroups = texts;
      group = simple types.str "";
      home = simple types.path "/var/empty";
      isNormalUser = flag false;
      isSystemUser = flag false;
      openssh.authorizedKeys.keys = texts;
      password = simple (types.nullOr types.str) null;
      shell = simple types.anything null;
      uid = simple (types.nullOr types.int) null;
    };
  };

  line =
    name: value:
    if lib.isList value then
      lib.concatMapStrings (line name) value
    else
      "${name}=${if lib.isBool value then lib.boolToString value else toString value}\n";
  lines = set: lib.concatMapStrings (name: line name set.${name}) (lib.attrNames set);
  words = name: values: lib.optionalAttrs (values != [ ]) { ${name} = toString values; };
  unitSection =
    unit:
    "[Unit]\n"
    + lines (
      words "After" unit.after
      // words "Before" unit.before
      // words "BindsTo" unit.bindsTo
      // words "Conflicts" unit.conflicts
      // lib.optionalAttrs (unit.description != "") { Description = unit.description; }
      // words "Documentation" unit.documentation
      // words "PartOf" unit.partOf
      // words "Requires" unit.requires
      // words "Wants" unit.wants
      # NixOS puts files in the place of these, and compares their names.
      // words "X-Reload-Triggers" (map toString (unit.reloadTriggers or [ ]))
      // words "X-Restart-Triggers" (map toString (unit.restartTriggers or [ ]))
      // unit.unitConfig
    );
  serviceText =
    service:
    unitSection service
    + "\n[Service]\n"
    + lib.concatMapStrings (
      name: "Environment=${builtins.toJSON "${name}=${service.environment.${name}}"}\n"
    ) (lib.attrNames (lib.filterAttrs (_: value: value != null) service.environment))
    + lib.optionalString (!service.restartIfChanged) "X-RestartIfChanged=false\n"
    + lib.optionalString (!service.stopIfChanged) "X-StopIfChanged=false\n"
    + lines service.serviceConfig;
  socketText =
    socket:
    unitSection socket
    + "\n[Socket]\n"
    + lines socket.socketConfig
    + lib.concatMapStrings (address: "ListenStream=${address}\n") socket.listenStreams;

  rendered =
    suffix: text: units:
    lib.mapAttrs' (
      name: unit:
      lib.nameValuePair "${name}.${suffix}" {
        inherit (unit) enable overrideStrategy;
        links = map (target: "${target}.wants") unit.wantedBy ++ map (target: "${target}.requires") unit.requiredBy;
        text = text unit;
      }
    ) units;

  # Modules of other people that the documentation speaks of.
  secretIn =
    folder:
    types.submodule (
      { name, ... }:
      {
        options = {
          file = simple (types.nullOr types.path) null;
          owner = simple types.str "root";
          path = simple types.str "${folder}/${name}";
        };
      }
    );

  failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
in
{
  options = {
    age.secrets = simple (types.attrsOf (secretIn "/run/agenix")) { };
    sops.secrets = simple (types.attrsOf (secretIn "/run/secrets")) { };

    assertions = list;
    boot.kernel.sysctl = free;
    documentation.enable = flag true;
    environment = {
      etc = simple (types.attrsOf etc) { };
      pathsToLink = texts;
      systemPackages = simple (types.listOf types.package) [ ];
      variables = free;
    };
    networking = {
      extraHosts = simple types.lines "";
      firewall = {
        allowedTCPPorts = ports;
        enable = flag true;
      };
      hostName = simple types.str "nixos";
      hosts = simple (types.attrsOf (types.listOf types.str)) { };
      primaryIPAddress = simple types.str "192.168.1.1";
    };
    nixpkgs.hostPlatform = free;
    programs.ssh = {
      extraConfig = simple types.lines "";
      package = simple types.package pkgs.openssh;
    };
    security = {
      acme = {
        acceptTerms = flag false;
        certs = simple (types.attrsOf (
          types.submodule (
            { name, ... }:
            {
              options = {
                directory = simple types.str "/var/lib/acme/${name}";
                email = simple (types.nullOr types.str) null;
                group = simple types.str "acme";
                reloadServices = texts;
              };
            }
          )
        )) { };
      };
      pki.certificateFiles = simple (types.listOf types.path) [ ];
    };
    services = {
      dex = {
        enable = flag false;
        settings = free;
      };
      k3s = {
        disable = texts;
        disableAgent = flag false;
        enable = flag false;
        extraFlags = texts;
        manifests = simple (types.attrsOf (
          types.submodule {
            options = {
              content = list;
              enable = flag true;
              source = simple (types.nullOr types.path) null;
            };
          }
        )) { };
        role = simple (types.enum [
          "agent"
          "server"
        ]) "server";
      };
      openssh = {
        enable = flag false;
        extraConfig = simple types.lines "";
        openFirewall = flag true;
        package = simple types.package pkgs.openssh;
        ports = simple (types.listOf types.port) [ 22 ];
        settings = free;
        startWhenNeeded = flag false;
      };
    };
    system = {
      build = mkOption {
        type = types.lazyAttrsOf types.raw;
        default = { };
        internal = true;
      };
      stateVersion = simple types.str "26.05";
    };
    systemd = {
      packages = simple (types.listOf types.package) [ ];
      services = simple (types.attrsOf service) { };
      sockets = simple (types.attrsOf socket) { };
      settings.Manager = free;
      tmpfiles.rules = texts;
    };
    users = {
      groups = simple (types.attrsOf (
        types.submodule {
          options = {
            gid = simple (types.nullOr types.int) null;
            members = texts;
          };
        }
      )) { };
      users = simple (types.attrsOf user) { };
    };
    virtualisation = {
      cores = simple types.ints.positive 1;
      diskSize = simple types.ints.positive 1024;
      memorySize = simple types.ints.positive 1024;
    };
    warnings = texts;
  };

  config = {
    # As NixOS says it.
    assertions = lib.concatMap (
      name:
      let
        user = config.users.users.${name};
      in
      [
        {
          assertion = user.isSystemUser != user.isNormalUser || name == "root";
          message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
        }
        {
          assertion = !user.isSystemUser || config.users.groups ? ${user.group};
          message = "users.users.${name}.group is unset or a group that there is not.";
        }
      ]
    ) (lib.attrNames config.users.users);

    systemd = lib.mkIf config.services.openssh.enable {
      services = lib.mkIf (!config.services.openssh.startWhenNeeded) {
        sshd.wantedBy = [ "multi-user.target" ];
      };
      sockets = lib.mkIf config.services.openssh.startWhenNeeded {
        sshd = {
          wantedBy = [ "sockets.target" ];
          listenStreams = map toString config.services.openssh.ports;
        };
      };
    };
    networking.firewall.allowedTCPPorts = lib.mkIf (
      config.services.openssh.enable && config.services.openssh.openFirewall
    ) config.services.openssh.ports;

    system.build = {
      units =
        rendered "service" serviceText config.systemd.services
        // rendered "socket" socketText config.systemd.sockets;
      toplevel =
        if failed != [ ] then
          throw "Failed assertions:\n${lib.concatMapStrings (message: "- ${message}\n") failed}"
        else
          # Everything is evaluated, as in building a system.
          builtins.deepSeq
            [
              config.system.build.units
              config.environment.etc
              config.networking
              config.users
              config.virtualisation
              (map toString config.environment.systemPackages)
              config.services.k3s
              config.services.dex
            ]
            (
              pkgs.writeText "system-${config.networking.hostName}" (
                builtins.unsafeDiscardStringContext (builtins.toJSON config.system.build.units)
              )
            );
    };
  };
}
