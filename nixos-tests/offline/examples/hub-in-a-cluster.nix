# Objects in a cluster, the hub outside of it.
{
  services.kedge.hub = {
    enable = true;
    kubeconfigFile = "/run/agenix/kubeconfig";
    settings.store = {
      kind = "kubernetes";
      kubernetes.namespace = "kedge";
    };
  };
}
