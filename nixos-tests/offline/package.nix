# The offline check as a check of the flake: what `cargo xtask test nix` shows, with nixpkgs' own module system, and with
# the programs that Nix built. systemd looks at the units in the machines of the tests.
{
  lib,
  runCommand,
  symlinkJoin,
  nix,
  path,
  python3,
  kedge,
  kedge-agent,
  kedge-hub,
}:
let
  root = ../..;
  programs = symlinkJoin {
    name = "kedge-programs";
    paths = [
      kedge
      kedge-agent
      kedge-hub
    ];
  };
in
runCommand "kedge-offline-check"
  {
    nativeBuildInputs = [
      nix
      python3
    ];
    src = lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions [
        (root + "/Cargo.lock")
        (root + "/Cargo.toml")
        (root + "/crates")
        (root + "/docs/man")
        (root + "/docs/nixos.md")
        (root + "/docs/reference/nixos.md")
        (root + "/flake.lock")
        (root + "/flake.nix")
        (root + "/manifests")
        (root + "/nixos-modules")
        (root + "/nixos-tests")
        (root + "/packaging")
      ];
    };
  }
  ''
    python3 -B "$src/nixos-tests/offline/check.py" \
      --lib ${path + "/lib"} --programs ${programs}/bin --without-flake
    touch "$out"
  ''
