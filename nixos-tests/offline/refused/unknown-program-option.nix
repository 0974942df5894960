{
  message = "The option `programs.kedge.hubs' does not exist.";
  module.programs.kedge.hubs = { };
}
