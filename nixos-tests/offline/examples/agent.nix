# The least: somebody types `kedge-agent join` once.
{
  services.openssh.enable = true;
  services.kedge.agent.enable = true;
}
