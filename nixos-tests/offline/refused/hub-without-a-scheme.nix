{
  message = "A definition for option `services.kedge.agent.settings.join.hub' is not of type `string matching the pattern https?://.+'.";
  module.services.kedge.agent = {
    enable = true;
    joinTokenFile = "/run/agenix/kedge-join-token";
    settings.join.hub = "hub.example";
  };
}
