{
  message = "A definition for option `services.kedge.hub.settings.secrets.folder' is not of type `null or absolute path not in the Nix store'.";
  module.services.kedge.hub = {
    enable = true;
    settings.secrets.folder = "/nix/store/00000000000000000000000000000000-secrets";
  };
}
