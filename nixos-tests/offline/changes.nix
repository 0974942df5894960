# What a change of settings does to a unit that runs: what a reload takes in must not restart it.
let
  agent = from: to: restarts: {
    unit = "kedge-agent";
    option = [
      "services"
      "kedge"
      "agent"
    ];
    inherit from to restarts;
  };
  hub = from: to: restarts: {
    unit = "kedge-hub";
    option = [
      "services"
      "kedge"
      "hub"
    ];
    inherit from to restarts;
  };
in
{
  "the agent's limits" = agent { } { limits.max-sessions = 7; } false;
  "the agent's log level" = agent { log.level = "info"; } { log.level = "debug"; } false;
  "the agent's log format" = agent { } { log.format = "json"; } true;
  "the agent's target" = agent { } { target = "tcp:127.0.0.1:2222"; } false;
  "the hub that the agent joins" = agent { } { join.hub = "https://hub.example"; } false;
  "the agent's hub" = agent { hub = "https://a.example"; } { hub = "https://b.example"; } true;
  "the hub's administrators" = hub { } { admins.users = [ "alice" ]; } false;
  "the hub's log level" = hub { } { log.level = "debug"; } false;
  "the hub's tunnel" = hub { } { tunnel.budget-mib = 512; } true;
  "nothing" = hub { name = "a"; } { name = "a"; } false;
}
