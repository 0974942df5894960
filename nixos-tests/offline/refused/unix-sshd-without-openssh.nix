{
  message = "services.kedge.agent.unixSshd.enable needs services.openssh.enable";
  module.services.kedge.agent = {
    enable = true;
    unixSshd.enable = true;
  };
}
