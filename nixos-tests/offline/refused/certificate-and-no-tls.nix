{
  message = "services.kedge.hub.settings.tls.mode is off, but services.kedge.hub.tls names a certificate.";
  module.services.kedge.hub = {
    enable = true;
    tls.certificateFile = "/run/agenix/hub.crt";
    tls.keyFile = "/run/agenix/hub.key";
    settings.tls.mode = "off";
  };
}
