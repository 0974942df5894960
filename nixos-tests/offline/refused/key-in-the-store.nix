{
  message = "A definition for option `services.kedge.hub.tls.keyFile' is not of type `null or absolute path not in the Nix store'.";
  module.services.kedge.hub = {
    enable = true;
    tls.certificateFile = "/run/agenix/hub.crt";
    tls.keyFile = "/nix/store/00000000000000000000000000000000-hub.key";
  };
}
