{
  message = "A definition for option `services.kedge.hub.settings.tls.key' is not of type `null or `credential:NAME` or absolute path not in the Nix store'.";
  module.services.kedge.hub = {
    enable = true;
    settings.tls = {
      certificate = "/etc/hub.crt";
      key = "/nix/store/00000000000000000000000000000000-hub.key";
    };
  };
}
