{
  message = "services.kedge.agent.settings.state-dir cannot be changed";
  module.services.kedge.agent = {
    enable = true;
    settings.state-dir = "/srv/kedge";
  };
}
