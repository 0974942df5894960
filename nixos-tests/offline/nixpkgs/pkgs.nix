# The packages that this project names, made of nothing: each has a name, a version, a path, and can be evaluated.
{ lib, system }:
let
  nixosSystem = import ./nixos-system.nix lib;

  # Not to be built: only where things would be matters.
  fake =
    attributes:
    let
      made = derivation {
        inherit (attributes) name;
        inherit system;
        builder = "/not/to/be/built";
        # What else is built is somewhere else.
        contents = attributes.text or (builtins.toJSON (attributes.environment or { }));
        outputs = attributes.outputs or [ "out" ];
      };
    in
    made // attributes;
  program =
    name:
    fake {
      name = "${name}-0";
      pname = name;
      version = "0";
      meta.mainProgram = name;
    };
  programs = names: lib.genAttrs names program;

  text =
    name: text:
    fake {
      inherit name text;
    };

  toml =
    let
      value =
        one:
        if lib.isAttrs one then
          "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (name: one: "${key name} = ${value one}") one)} }"
        else if lib.isList one then
          "[${lib.concatMapStringsSep ", " value one}]"
        else
          builtins.toJSON one;
      key = name: if lib.match "[A-Za-z0-9_-]+" name != null then name else builtins.toJSON name;
      table =
        path: set:
        let
          tables = lib.filterAttrs (_: lib.isAttrs) set;
          values = lib.filterAttrs (_: one: !lib.isAttrs one) set;
          inside = lib.concatStrings (lib.mapAttrsToList (name: one: "${key name} = ${value one}\n") values);
          below = lib.mapAttrsToList (name: one: table (path ++ [ (key name) ]) one) tables;
        in
        lib.optionalString (path != [ ] && (values != { } || tables == { })) (
          "\n[${lib.concatStringsSep "." path}]\n"
        )
        + inside
        + lib.concatStrings below;
    in
    table [ ];

  # Every argument that nixpkgs' own take, and no other.
  pkgs =
    programs [
      "cargo"
      "cargo-deny"
      "clippy"
      "coreutils"
      "dex-oidc"
      "dpkg"
      "etcd"
      "gcc"
      "installShellFiles"
      "iproute2"
      "kubectl"
      "kubernetes"
      "libfaketime"
      "mmdebstrap"
      "nix"
      "nixfmt-tree"
      "nodejs"
      "openssh"
      "openssl"
      "python3"
      "rsync"
      "rust-analyzer"
      "rustc"
      "rustfmt"
      "util-linux"
    ]
    // {
      inherit lib;
      path = ./.;
      stdenv.hostPlatform.system = system;
      stdenv.buildPlatform.canExecute = _: true;

      callPackage =
        file: arguments:
        let
          package = import file;
        in
        package (builtins.intersectAttrs (lib.functionArgs package) pkgs // arguments);
      cacert = program "nss-cacert";
      dockerTools.streamLayeredImage =
        {
          name,
          tag,
          contents,
          config,
          maxLayers ? 100,
        }:
        builtins.deepSeq [ tag (map toString contents) config maxLayers ] (program name);
      formats.toml =
        { }:
        {
          generate = name: value: text name (toml value);
          type = (lib.types.attrsOf lib.types.anything) // {
            description = "TOML value";
          };
        };
      mkShell =
        { packages, ... }@attributes:
        builtins.deepSeq [ (map toString packages) attributes ] (program "shell");
      runCommand =
        name: environment: command:
        builtins.deepSeq [ command ] (fake (environment // { inherit name environment; }));
      rustPlatform.buildRustPackage =
        {
          pname,
          version,
          src,
          cargoLock,
          outputs ? [ "out" ],
          meta,
          ...
        }@attributes:
        builtins.deepSeq
          [
            (builtins.removeAttrs attributes [ "nativeBuildInputs" ])
            (lib.assertMsg (builtins.pathExists cargoLock.lockFile) "there is no ${toString cargoLock.lockFile}")
          ]
          (fake {
            name = "${pname}-${version}";
            inherit
              pname
              version
              outputs
              meta
              ;
          });
      symlinkJoin = { name, paths }: builtins.deepSeq [ (map toString paths) ] (fake { inherit name; });
      writeShellApplication =
        {
          name,
          text,
          runtimeInputs ? [ ],
        }:
        builtins.deepSeq [ text (map toString runtimeInputs) ] (program name);
      writeText = text;
      writeTextDir = path: text (baseNameOf path);

      testers.runNixOSTest =
        {
          name,
          nodes,
          testScript,
          globalTimeout ? 3600,
          defaults ? { },
          skipLint ? false,
          skipTypeCheck ? false,
        }:
        let
          machines = lib.mapAttrs (
            hostName: module:
            nixosSystem {
              inherit system;
              specialArgs.nodes = machines;
              modules = [
                {
                  networking.hostName = lib.mkDefault hostName;
                }
                defaults
                module
              ];
            }
          ) nodes;
          script = if lib.isFunction testScript then testScript { nodes = machines; } else testScript;
        in
        builtins.deepSeq [
          (lib.mapAttrs (_: machine: machine.config.system.build.toplevel.drvPath) machines)
          script
          globalTimeout
          skipLint
          skipTypeCheck
        ] (fake { inherit name nodes; } // { inherit script; });
    };
in
pkgs
