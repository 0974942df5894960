# sshd on a unix socket: nothing on this machine listens on the network.
{
  services.openssh.enable = true;
  services.kedge.agent = {
    enable = true;
    unixSshd.enable = true;
  };
}
