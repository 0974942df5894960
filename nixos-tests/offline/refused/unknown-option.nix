{
  message = "The option `services.kedge.agent.joinTokenfile' does not exist.";
  module.services.kedge.agent = {
    enable = true;
    joinTokenfile = "/run/agenix/kedge-join-token";
  };
}
