{
  message = "services.kedge.hub.tls.useACMEHost: there is no security.acme.certs.hub.example.";
  module.services.kedge.hub = {
    enable = true;
    tls.useACMEHost = "hub.example";
  };
}
