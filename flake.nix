{
  description = "kedge: zero-config SSH to any server, through one hub, with the identity people already have";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forEachSystem =
        f:
        lib.genAttrs [
          "aarch64-linux"
          "x86_64-linux"
        ] (system: f system nixpkgs.legacyPackages.${system});

      # A module of this repository, with this flake's package as what it uses unless told otherwise.
      withPackage =
        file: option: name:
        { lib, pkgs, ... }:
        {
          # Whoever imports it twice, by two names, has it once.
          key = "${toString file}#package";
          imports = [ file ];
          config = lib.setAttrByPath (lib.splitString "." "${option}.package") (
            lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.${name}
          );
        };
    in
    {
      packages = forEachSystem (
        _: pkgs:
        let
          # One compilation; a package of each program.
          kedge = pkgs.callPackage ./packaging/nix/package.nix { };
          output =
            name:
            kedge.${lib.removePrefix "kedge-" name}
            // {
              meta = kedge.meta // {
                mainProgram = name;
              };
            };
        in
        rec {
          inherit kedge;
          default = kedge;
          kedge-agent = output "kedge-agent";
          kedge-hub = output "kedge-hub";
          hub-image = pkgs.callPackage ./packaging/nix/hub-image.nix { inherit kedge-hub; };
        }
      );

      apps = forEachSystem (
        system: pkgs: {
          demo = {
            type = "app";
            program = lib.getExe (pkgs.callPackage ./packaging/nix/demo.nix { });
            meta.description = "Goes the whole way on loopback: an OpenID provider, a hub, an agent, a login, kedge ssh";
          };
        }
      );

      devShells = forEachSystem (
        _: pkgs: {
          default = pkgs.callPackage ./packaging/nix/shell.nix { };
        }
      );

      formatter = forEachSystem (_: pkgs: pkgs.nixfmt-tree);

      nixosModules = {
        agent = withPackage ./nixos-modules/agent.nix "services.kedge.agent" "kedge-agent";
        client = withPackage ./nixos-modules/client.nix "programs.kedge" "kedge";
        hub = withPackage ./nixos-modules/hub.nix "services.kedge.hub" "kedge-hub";
        default.imports = [
          self.nixosModules.agent
          self.nixosModules.client
          self.nixosModules.hub
        ];
      };

      checks = forEachSystem (
        system: pkgs:
        import ./nixos-tests { inherit self pkgs; }
        // {
          offline = pkgs.callPackage ./nixos-tests/offline/package.nix {
            inherit (self.packages.${system}) kedge kedge-agent kedge-hub;
          };
        }
      );
    };
}
