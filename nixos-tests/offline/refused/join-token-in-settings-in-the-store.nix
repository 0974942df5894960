{
  message = "A definition for option `services.kedge.agent.settings.join.token-file' is not of type `null or `credential:NAME` or absolute path not in the Nix store'.";
  module.services.kedge.agent = {
    enable = true;
    settings.join = {
      hub = "https://hub.example";
      token-file = "/nix/store/00000000000000000000000000000000-join-token";
    };
  };
}
