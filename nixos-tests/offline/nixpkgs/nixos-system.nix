# `lib.nixosSystem`, for the options of NixOS that this project sets.
lib:
{
  modules,
  specialArgs ? { },
  system ? "x86_64-linux",
}:
lib.evalModules {
  inherit specialArgs;
  modules = [
    ./nixos.nix
    { _module.args.pkgs = lib.mkOptionDefault (import ./pkgs.nix { inherit lib system; }); }
  ]
  ++ modules;
}
