# The hub as a container image: `nix build .#hub-image && ./result | podman load`. What `cargo xtask image` makes without
# Nix has the same name, user, entry point and labels; the paths are Nix's.
{
  lib,
  dockerTools,
  cacert,
  kedge-hub,
  writeTextDir,
}:
let
  inherit (lib.importTOML ../../Cargo.toml) workspace;
  # As in manifests/base/deployment.yaml.
  id = "65532";
in
dockerTools.streamLayeredImage {
  name = "kedge-hub";
  tag = workspace.package.version;
  contents = [
    cacert
    kedge-hub
    (writeTextDir "etc/group" "kedge-hub:x:${id}:\n")
    (writeTextDir "etc/passwd" "kedge-hub:x:${id}:${id}:kedge-hub:/:/sbin/nologin\n")
  ];
  config = {
    # Manifests may name the program without its folder.
    Env = [
      "PATH=/bin"
      "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
    ];
    Entrypoint = [ "kedge-hub" ];
    User = "${id}:${id}";
    WorkingDir = "/";
    Labels = {
      "org.opencontainers.image.description" = "The hub of kedge: it relays ciphertext, decides who may connect, and keeps the books.";
      "org.opencontainers.image.licenses" = workspace.package.license;
      "org.opencontainers.image.title" = "kedge-hub";
      "org.opencontainers.image.version" = workspace.package.version;
    };
  };
}
