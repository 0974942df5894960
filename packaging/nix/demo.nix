# `nix run .#demo`: `cargo xtask demo` of the checkout that it is run in, with what it needs on the PATH.
{
  lib,
  writeShellApplication,
  cargo,
  gcc,
  openssh,
  rsync,
  rustc,
}:
writeShellApplication {
  name = "kedge-demo";
  runtimeInputs = [
    cargo
    gcc
    openssh
    rsync
    rustc
  ];
  text = ''
    if ! [ -f crates/xtask/Cargo.toml ]; then
      echo "error: no checkout of kedge in $PWD: the demo is built from one" >&2
      echo "hint: cd to it, and type: nix run .#demo" >&2
      exit 1
    fi
    exec cargo xtask demo "$@"
  '';
}
