{
  message = "services.kedge.hub.tls.certificateFile and services.kedge.hub.tls.keyFile are needed together.";
  module.services.kedge.hub = {
    enable = true;
    tls.certificateFile = "/run/agenix/hub.crt";
  };
}
