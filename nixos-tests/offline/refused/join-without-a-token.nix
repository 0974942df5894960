{
  message = "services.kedge.agent.settings.join needs a token: set services.kedge.agent.joinTokenFile.";
  module.services.kedge.agent = {
    enable = true;
    settings.join.hub = "https://hub.example";
  };
}
