# The least: a certificate of its own, which people and agents pin.
{
  services.kedge.hub = {
    enable = true;
    settings.people = [
      {
        subject = "alice";
        token-sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        claims.preferred_username = "alice";
      }
    ];
  };
}
