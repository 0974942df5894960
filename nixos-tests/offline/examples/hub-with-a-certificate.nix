# A certificate and a key from sops-nix.
{
  services.kedge.hub = {
    enable = true;
    tls = {
      certificateFile = "/run/secrets/hub.crt";
      keyFile = "/run/secrets/hub.key";
    };
    settings = {
      secrets = {
        folder = "/run/kedge-secrets";
        namespaces = [ "ssh-keys" ];
      };
      tunnel.budget-mib = 512;
    };
  };
}
