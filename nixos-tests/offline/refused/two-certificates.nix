{
  message = "services.kedge.hub.tls.useACMEHost and services.kedge.hub.tls.certificateFile exclude each other.";
  module = {
    security.acme.certs."hub.example" = { };
    services.kedge.hub = {
      enable = true;
      tls = {
        useACMEHost = "hub.example";
        certificateFile = "/run/agenix/hub.crt";
        keyFile = "/run/agenix/hub.key";
      };
    };
  };
}
