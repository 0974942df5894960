{
  message = "A definition for option `services.kedge.agent.joinTokenFile' is not of type `null or absolute path not in the Nix store'.";
  module.services.kedge.agent = {
    enable = true;
    # A path of Nix's, which would be copied.
    joinTokenFile = ./join-token;
    settings.join.hub = "https://hub.example";
  };
}
