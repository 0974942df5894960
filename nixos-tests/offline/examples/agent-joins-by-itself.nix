# A server of a fleet, with a secret from agenix and more settings than have options.
{
  services.openssh.enable = true;
  services.kedge.agent = {
    enable = true;
    joinTokenFile = "/run/agenix/kedge-join-token";
    settings = {
      join = {
        hub = "https://hub.example";
        name = "web01";
        labels = {
          env = "prod";
          site = "fra1";
        };
      };
      limits.max-sessions = 64;
      log.level = "debug";
    };
  };
}
