# `nix develop`: everything that `cargo xtask` and its tests call.
{
  mkShell,
  symlinkJoin,
  # The compiler
  cargo,
  cargo-deny,
  clippy,
  rust-analyzer,
  rustc,
  rustfmt,
  # Real peers for the tests
  dex-oidc,
  etcd,
  iproute2,
  kubectl,
  kubernetes,
  libfaketime,
  nodejs,
  openssh,
  rsync,
  util-linux,
  # Packages, images and machines
  dpkg,
  mmdebstrap,
  nix,
  python3,
}:
let
  # What `cargo xtask tools` would build with Go.
  kube = symlinkJoin {
    name = "kedge-kube-assets";
    paths = [
      etcd
      kubectl
      kubernetes
    ];
  };
in
mkShell {
  packages = [
    cargo
    cargo-deny
    clippy
    dex-oidc
    dpkg
    etcd
    iproute2
    kubectl
    kubernetes
    libfaketime
    mmdebstrap
    nix
    nodejs
    openssh
    python3
    rsync
    rust-analyzer
    rustc
    rustfmt
    util-linux
  ];
  env.KUBEBUILDER_ASSETS = "${kube}/bin";
}
