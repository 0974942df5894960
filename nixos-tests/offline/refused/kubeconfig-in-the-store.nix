{
  message = "A definition for option `services.kedge.hub.kubeconfigFile' is not of type `null or absolute path not in the Nix store'.";
  module.services.kedge.hub = {
    enable = true;
    kubeconfigFile = "/nix/store/00000000000000000000000000000000-kubeconfig";
  };
}
