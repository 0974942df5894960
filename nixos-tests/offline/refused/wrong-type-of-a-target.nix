{
  message = "A definition for option `services.kedge.agent.settings.target' is not of type `string'.";
  module.services.kedge.agent = {
    enable = true;
    settings.target = 22;
  };
}
