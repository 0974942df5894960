{
  message = "services.kedge.agent.joinTokenFile is set, but services.kedge.agent.settings.join.hub does not say which hub to join.";
  module.services.kedge.agent = {
    enable = true;
    joinTokenFile = "/run/agenix/kedge-join-token";
  };
}
