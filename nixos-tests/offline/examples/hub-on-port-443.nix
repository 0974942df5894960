# With Let's Encrypt, on the port that everybody's proxy lets through.
{
  security.acme = {
    acceptTerms = true;
    certs."hub.example".email = "admin@hub.example";
  };
  services.kedge.hub = {
    enable = true;
    openFirewall = true;
    tls.useACMEHost = "hub.example";
    settings = {
      listen = "[::]:443";
      issuers = [
        {
          url = "https://id.example/realms/main";
          client-id = "kedge";
        }
      ];
      admins.groups = [ "platform" ];
    };
  };
}
