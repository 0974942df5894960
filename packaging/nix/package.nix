# The three programs, from one compilation: the command line is `out`, the daemons are outputs of their own.
{
  lib,
  rustPlatform,
  stdenv,
  installShellFiles,
  coreutils,
}:
let
  root = ../..;
  manifest = lib.importTOML (root + "/Cargo.toml");
in
rustPlatform.buildRustPackage {
  pname = "kedge";
  inherit (manifest.workspace.package) version;

  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/Cargo.lock")
      (root + "/Cargo.toml")
      (root + "/crates")
      (root + "/docs/man")
      (root + "/packaging/systemd")
    ];
  };
  cargoLock.lockFile = root + "/Cargo.lock";

  outputs = [
    "out"
    "agent"
    "hub"
  ];

  cargoBuildFlags = [
    "--package=kedge"
    "--package=kedge-agent"
    "--package=kedge-hub"
  ];
  # As .cargo/config.toml sets it, which a build by Nix replaces: docs/decisions/0003-one-crypto-provider.md.
  env.AWS_LC_SYS_NO_JITTER_ENTROPY = "1";

  # They want an sshd, an OpenID provider and an API server: `cargo xtask test` runs them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];

  postInstall = ''
    for output in agent hub; do
      to="''${!output}"
      program="kedge-$output"
      units="$to/lib/systemd/system"
      install -D -t "$to/bin" "$out/bin/$program"
      rm "$out/bin/$program"
      install -D -m 0644 -t "$to/share/man/man8" "docs/man/$program.8"
      install -D -m 0644 -t "$units" packaging/systemd/"$program"*
      substituteInPlace "$units/$program.service" \
        --replace-fail "/usr/bin/$program" "$to/bin/$program" \
        --replace-fail /bin/kill ${coreutils}/bin/kill
    done
    install -D -m 0644 -t "$agent/lib/systemd/system" packaging/systemd/kedge-sshd*
    installManPage docs/man/*.1
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    installShellCompletion --cmd kedge \
      --bash <("$out/bin/kedge" completion bash) \
      --fish <("$out/bin/kedge" completion fish) \
      --zsh <("$out/bin/kedge" completion zsh)
  '';

  meta = {
    description = "SSH to any server, through one hub, with the identity people already have";
    license = lib.licenses.asl20;
    mainProgram = "kedge";
    platforms = lib.platforms.linux;
  };
}
