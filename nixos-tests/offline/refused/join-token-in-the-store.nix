{
  message = "A definition for option `services.kedge.agent.joinTokenFile' is not of type `null or absolute path not in the Nix store'.";
  module.services.kedge.agent = {
    enable = true;
    joinTokenFile = "/nix/store/00000000000000000000000000000000-join-token";
    settings.join.hub = "https://hub.example";
  };
}
