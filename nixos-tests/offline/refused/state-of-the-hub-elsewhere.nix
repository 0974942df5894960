{
  message = "services.kedge.hub.settings.state-dir cannot be changed";
  module.services.kedge.hub = {
    enable = true;
    settings.state-dir = "/srv/kedge";
  };
}
