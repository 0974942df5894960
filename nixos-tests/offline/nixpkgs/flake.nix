{
  description = "Stands in for nixpkgs where there is none: enough to evaluate this project's flake";

  outputs =
    { self }:
    let
      lib = import ./lib;
    in
    {
      lib = lib // {
        nixosSystem = import ./nixos-system.nix lib;
      };
      legacyPackages = lib.genAttrs lib.platforms.linux (system: import ./pkgs.nix { inherit lib system; });
    };
}
