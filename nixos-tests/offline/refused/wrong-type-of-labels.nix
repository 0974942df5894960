{
  message = "A definition for option `services.kedge.agent.settings.join.labels.rack' is not of type `string'.";
  module.services.kedge.agent = {
    enable = true;
    joinTokenFile = "/run/agenix/kedge-join-token";
    settings.join = {
      hub = "https://hub.example";
      labels.rack = 7;
    };
  };
}
