# A laptop.
{
  programs.kedge.enable = true;
}
