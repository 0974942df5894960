{
  message = "A definition for option `services.kedge.hub.settings.listen' is not of type `string matching the pattern .+:[0-9]+'.";
  module.services.kedge.hub = {
    enable = true;
    settings.listen = "0.0.0.0";
  };
}
