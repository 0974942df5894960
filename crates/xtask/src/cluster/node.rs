//! A node of Kubernetes and its cluster: real programs, started as an administrator would start them by hand.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kedge_testkit::kube::{Cluster, node_programs};
use kedge_testkit::process::Daemon;
use kedge_testkit::run;
use kedge_testkit::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Inside;
use super::inside::{last, step};
use super::network::{NODE, PODS};
use crate::defaults;
use crate::image::{self, Image, Layer, Reference, Settings};

/// What runs. Dropped in this order, by killing; [`Node::end`] does it gently.
#[derive(Debug)]
pub(super) struct Node {
    proxy: Daemon,
    kubelet: Daemon,
    containerd: Daemon,
    scheduler: Daemon,
    controllers: Daemon,
    /// The API server.
    pub(super) cluster: Cluster,
}

/// How the node is called.
const NAME: &str = "node";

impl Node {
    /// Starts it, and waits until pods may come.
    ///
    /// # Errors
    ///
    /// When a part does not start; its log is where logs are.
    pub(super) fn start(arguments: &Inside) -> Result<Self> {
        let (dir, logs) = (arguments.dir.as_path(), arguments.logs.as_path());
        let programs = node_programs()?;
        let cluster = Cluster::start_for_node(NODE)?;
        step("etcd and the API server answer.");
        let kubeconfig = cluster.kubeconfig(cluster.admin_token())?;
        let start = |name: &str, words: Vec<String>| {
            let mut command = Command::new(programs.join(name));
            command.args(words);
            Daemon::spawn(name, command, logs)
        };
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let alone = ["--leader-elect=false", "--secure-port=0"].map(str::to_owned);
        let mut words = alone.to_vec();
        words.push(file("kubeconfig", &kubeconfig));
        let scheduler = start("kube-scheduler", words.clone())?;
        // What pods check the API server's certificate by.
        words.push(file("root-ca-file", cluster.ca_file()));
        let controllers = start("kube-controller-manager", words)?;

        let containerd = containerd(dir, logs)?;
        step("containerd answers.");
        let written = pause()?.write(&dir.join("pause.tar"))?;
        ensure!(written.size > 0, "an empty image");
        import(&dir.join("pause.tar"))?;

        let config = dir.join("kubelet.json");
        fs::write(&config, kubelet_config(dir)?.to_string())?;
        let kubelet = start(
            "kubelet",
            vec![
                file("config", &config),
                file("kubeconfig", &kubeconfig),
                format!("--node-ip={NODE}"),
                format!("--hostname-override={NAME}"),
            ],
        )?;
        let config = dir.join("kube-proxy.json");
        fs::write(&config, proxy_config(&kubeconfig).to_string())?;
        let proxy = start("kube-proxy", vec![file("config", &config)])?;
        let mut node = Self {
            proxy,
            kubelet,
            containerd,
            scheduler,
            controllers,
            cluster,
        };
        let ready = node.wait_until_ready();
        if ready.is_err() {
            node.write_down(logs);
        }
        ready?;
        step("The node is ready.");
        Ok(node)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        wait::until_true("the node to be ready", defaults::CLUSTER_STEP, || {
            for daemon in self.daemons() {
                let ended = daemon.exited()?;
                ensure!(ended.is_none(), "one ended:\n{}", daemon.log_tail());
            }
            let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let get = self
                .cluster
                .kubectl(&["get", "node", NAME, "--output", path]);
            Ok(run::run(get)?.out() == "True")
        })
    }

    fn daemons(&mut self) -> [&mut Daemon; 5] {
        [
            &mut self.proxy,
            &mut self.kubelet,
            &mut self.scheduler,
            &mut self.controllers,
            &mut self.containerd,
        ]
    }

    /// `kubectl` by the administrator, who must succeed.
    ///
    /// # Errors
    ///
    /// With its output when it does not.
    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String> {
        let ran = run::feed(
            self.cluster.kubectl(words),
            Vec::new(),
            defaults::CLUSTER_STEP,
        )?;
        Ok(ran.success()?.out())
    }

    /// Applies objects.
    ///
    /// # Errors
    ///
    /// When the API server refuses one.
    pub(super) fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster
            .apply(&list.to_string(), &[])?
            .success()
            .map(drop)
    }

    /// Writes what the cluster says of itself beside the logs, for whoever looks for a reason.
    pub(super) fn write_down(&self, logs: &Path) {
        let mut all = String::new();
        for words in [
            &["get", "all,pv,pvc", "--all-namespaces", "--output=wide"][..],
            &["describe", "pods", "--all-namespaces"],
            &[
                "get",
                "events",
                "--all-namespaces",
                "--sort-by=.lastTimestamp",
            ],
            &[
                "logs",
                "--namespace=kedge",
                "deployment/kedge-hub",
                "--tail=200",
            ],
        ] {
            let said = last(self.cluster.kubectl(words), defaults::PRINT);
            all.push_str(&format!("$ kubectl {}\n", words.join(" ")));
            all.push_str(&said.unwrap_or_else(|error| format!("{error:#}\n")));
        }
        let path = logs.join("cluster.txt");
        match fs::write(&path, all) {
            Ok(()) => step(&format!(
                "What the cluster looked like is in {}.",
                path.display()
            )),
            Err(error) => step(&format!("{} cannot be written: {error}", path.display())),
        }
    }

    /// Ends everything in order: pods, kubelet, what containerd runs, containerd, the API server, etcd.
    ///
    /// # Errors
    ///
    /// When pods do not end by themselves. All is ended in any case.
    pub(super) fn end(self) -> Result<()> {
        step("Ending the pods.");
        let mut delete = self
            .cluster
            .kubectl(&["delete", "namespace", "kedge", "ssh-keys"]);
        delete.args(["--ignore-not-found", "--wait"]);
        let deleted = last(delete, defaults::CLUSTER_DRAIN);
        let tasks = last(ctr(&["task", "list", "--quiet"]), defaults::PRINT);
        for daemon in [self.proxy, self.kubelet] {
            stop(daemon);
        }
        let tasks = tasks.unwrap_or_default();
        for task in tasks.split_whitespace() {
            let _ = last(ctr(&["task", "delete", "--force", task]), defaults::PRINT);
        }
        for daemon in [self.containerd, self.scheduler, self.controllers] {
            stop(daemon);
        }
        drop(self.cluster);
        deleted.context("delete the namespaces")?;
        ensure!(tasks.trim().is_empty(), "the kubelet did not end {tasks}");
        Ok(())
    }
}

/// SIGTERM, and the time to leave; also after Ctrl-C.
fn stop(mut daemon: Daemon) {
    let until = Instant::now() + STOP;
    let _ = daemon.signal(Signal::TERM);
    while matches!(daemon.exited(), Ok(None)) && Instant::now() < until {
        std::thread::sleep(kedge_testkit::defaults::POLL);
    }
    // Dropping it kills it if it is still there.
}

/// Nobody misses what these programs do at their end.
const STOP: Duration = Duration::from_secs(5);

fn containerd(dir: &Path, logs: &Path) -> Result<Daemon> {
    let interfaces = dir.join("cni");
    fs::create_dir(&interfaces)?;
    let plugin = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": PODS }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    fs::write(interfaces.join("pods.conflist"), plugin.to_string())?;
    let config = dir.join("containerd.toml");
    let quoted = |path: &Path| kedge_testkit::hub::quoted(&path.display().to_string());
    let toml = format!(
        "version = 2\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{PAUSE}\"\n\
         # Where root lacks CAP_SYS_RESOURCE, no pod would start otherwise.\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
         # It copies, which every file system can.\n\
         snapshotter = \"native\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = \"/usr/lib/cni\"\n\
         conf_dir = {}\n",
        quoted(&interfaces)
    );
    fs::write(&config, toml)?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(&config);
    let mut daemon = Daemon::spawn("containerd", command, logs)?;
    wait::until_true("containerd to answer", defaults::CLUSTER_STEP, || {
        let ended = daemon.exited()?;
        ensure!(ended.is_none(), "it ended:\n{}", daemon.log_tail());
        Ok(run::run(ctr(&["version"]))?.code() == Some(0))
    })?;
    Ok(daemon)
}

/// containerd's command line, in the namespace of the kubelet's images and containers.
pub(super) fn ctr(words: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command.args(["--namespace", "k8s.io"]).args(words);
    command
}

/// Gives the node an image.
///
/// # Errors
///
/// When containerd refuses it.
pub(super) fn import(file: &Path) -> Result<()> {
    let mut command = ctr(&["images", "import", "--snapshotter", "native"]);
    command.arg(file);
    let ran = run::feed(command, Vec::new(), defaults::CLUSTER_STEP)?;
    ran.success().map(drop)
}

/// The image of the container that holds a pod's namespaces, and does nothing else.
fn pause() -> Result<Image> {
    let file = kedge_testkit::machine::find_program("sleep").context("there is no sleep")?;
    let program = image::program(&file)?;
    let mut layer = Layer::default();
    image::add_libraries(&mut layer, &program)?;
    layer.add_file("/usr/bin/sleep", image::PROGRAM, fs::read(&file)?)?;
    Ok(Image {
        name: PAUSE.parse::<Reference>()?,
        architecture: program.architecture,
        settings: Settings {
            entrypoint: vec!["/usr/bin/sleep".to_owned(), "infinity".to_owned()],
            user: Some(format!("{0}:{0}", defaults::IMAGE_USER)),
            labels: Vec::new(),
        },
        layers: vec![layer],
    })
}

fn kubelet_config(dir: &Path) -> Result<Value> {
    // Nobody resolves names in this cluster.
    let resolver = dir.join("resolv.conf");
    fs::write(&resolver, "")?;
    let group = dir.file_name().and_then(|name| name.to_str());
    let group = group.context("a folder has a name")?;
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        // Under this all pods are, beside each other: nothing of the machine's own is limited or accounted for.
        "cgroupRoot": format!("/{group}"),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "resolvConf": resolver,
        // A disk that is nearly full is the machine's business.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        // In a network where nobody else is.
        "address": NODE,
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "readOnlyPort": 0,
    }))
}

fn proxy_config(kubeconfig: &PathBuf) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NAME,
        "clientConnection": { "kubeconfig": kubeconfig },
        "healthzBindAddress": format!("{}:10256", Ipv4Addr::LOCALHOST),
        "metricsBindAddress": format!("{}:10249", Ipv4Addr::LOCALHOST),
        // Limits of the whole kernel, which are not this network's to set.
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s",
        },
        "detectLocalMode": "InterfaceNamePrefix",
        "detectLocal": { "interfaceNamePrefix": "veth" },
    })
}

/// On this machine, and nowhere else.
const PAUSE: &str = "localhost/pause:1";
