{
  message = "services.kedge.agent.settings.target is tcp:127.0.0.1:2222, but with services.kedge.agent.unixSshd.enable sshd is at unix:/run/kedge-sshd/socket.";
  module = {
    services.openssh.enable = true;
    services.kedge.agent = {
      enable = true;
      unixSshd.enable = true;
      settings.target = "tcp:127.0.0.1:2222";
    };
  };
}
