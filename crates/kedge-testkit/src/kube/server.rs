//! The two processes, and the files that they are started with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{keeper, write_private};
use crate::process::Daemon;
use crate::sshd::keygen_with;
use crate::{defaults, machine, wait};

/// A running etcd, and a kube-apiserver that may be stopped and started.
#[derive(Debug)]
pub(super) struct Server {
    // Dropped in this order: etcd last.
    api: Option<Daemon>,
    etcd: Daemon,
    programs: PathBuf,
    dir: PathBuf,
    etcd_port: u16,
    pods: Pods,
    port: u16,
}

/// Whether pods run in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pods {
    /// None: no controllers and no kubelet. The server is for this machine alone.
    Never,
    /// On a node that finds the server at this address, which this machine has.
    On(Ipv4Addr),
}

impl Pods {
    /// Where the server listens.
    fn address(self) -> Ipv4Addr {
        match self {
            Self::Never => Ipv4Addr::LOCALHOST,
            Self::On(node) => node,
        }
    }
}

impl Server {
    /// Starts both in a folder; the API server listens when this returns, and is not yet ready.
    ///
    /// # Errors
    ///
    /// When one of them does not listen in time.
    pub(super) fn start(
        programs: &Path,
        dir: &Path,
        admin_token: &str,
        pods: Pods,
    ) -> Result<Self> {
        keygen_with(&dir.join(SIGNING_KEY), "ecdsa", &["-m", "PEM"])?;
        let people = format!("{admin_token},admin,admin,\"system:masters\"\n");
        write_private(&dir.join(TOKENS), people)?;
        fs::write(dir.join(AUDIT_POLICY), WHAT_IS_AUDITED)?;
        let (etcd, etcd_port) = on_free_port("etcd", Ipv4Addr::LOCALHOST, |port| {
            etcd(programs, dir, port)
        })?;
        let (api, port) = on_free_port("kube-apiserver", pods.address(), |port| {
            api(programs, dir, etcd_port, port, pods)
        })?;
        let server = Self {
            api: Some(api),
            etcd,
            programs: programs.to_owned(),
            dir: dir.to_owned(),
            etcd_port,
            pods,
            port,
        };
        server.write_authority()?;
        Ok(server)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.api
            .iter()
            .chain([&self.etcd])
            .map(Daemon::pid)
            .collect()
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}:{}", self.pods.address(), self.port)
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    pub(super) fn audit(&self) -> PathBuf {
        self.dir.join(AUDIT)
    }

    /// Fails when a process is gone that should be there.
    pub(super) fn check(&self) -> Result<()> {
        for daemon in self.api.iter().chain([&self.etcd]) {
            ensure!(
                crate::process::is_alive(daemon.pid()),
                "it ended; its log ends:\n{}",
                daemon.log_tail()
            );
        }
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
        self.api.as_ref().map(Daemon::log_tail).unwrap_or_default()
    }

    pub(super) fn stop_api(&mut self) {
        if let Some(api) = self.api.take() {
            api.kill();
        }
    }

    pub(super) fn start_api(&mut self) -> Result<()> {
        ensure!(self.api.is_none(), "the API server runs");
        let (programs, dir) = (self.programs.clone(), self.dir.clone());
        let mut daemon = api(&programs, &dir, self.etcd_port, self.port, self.pods)?;
        let address = (self.pods.address(), self.port);
        let listening = listens("kube-apiserver", &mut daemon, address.into())?;
        ensure!(listening, "port {} was taken meanwhile", self.port);
        self.api = Some(daemon);
        Ok(())
    }

    /// The server makes its certificate itself: the file holds that, and after it the authority's.
    fn write_authority(&self) -> Result<()> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        let chain = fs::read_to_string(self.dir.join("certificates/apiserver.crt"))?;
        let start = chain.rfind(BEGIN).context("no certificate")?;
        let authority = chain.get(start..).unwrap_or_default();
        Ok(fs::write(self.ca_file(), authority)?)
    }
}

/// Starts a daemon on a free port; again on another when somebody was faster.
fn on_free_port(
    name: &str,
    address: Ipv4Addr,
    start: impl Fn(u16) -> Result<Daemon>,
) -> Result<(Daemon, u16)> {
    for _ in 0..defaults::PORT_ATTEMPTS {
        let port = machine::free_port()?;
        let mut daemon = start(port)?;
        if listens(name, &mut daemon, (address, port).into())? {
            return Ok((daemon, port));
        }
    }
    bail!(
        "no free port for {name} in {} attempts",
        defaults::PORT_ATTEMPTS
    )
}

/// Waits until a daemon listens; false when the port is somebody else's.
fn listens(name: &str, daemon: &mut Daemon, address: SocketAddr) -> Result<bool> {
    wait::until(&format!("{name} to listen"), defaults::START, || {
        if daemon.exited()?.is_some() {
            let log = daemon.log()?;
            ensure!(
                log.contains("address already in use"),
                "it ended; its log ends:\n{}",
                daemon.log_tail()
            );
            return Ok(Some(false));
        }
        Ok(TcpStream::connect_timeout(&address, defaults::SOON)
            .is_ok()
            .then_some(true))
    })
}

fn etcd(programs: &Path, dir: &Path, port: u16) -> Result<Daemon> {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", machine::free_port()?);
    let mut command = Command::new(programs.join("etcd"));
    command
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .arg("--log-level=warn")
        // Nobody misses the data of a test after a power cut.
        .arg("--unsafe-no-fsync");
    keeper::spawn("etcd", &command, dir)
}

fn api(programs: &Path, dir: &Path, etcd_port: u16, port: u16, pods: Pods) -> Result<Daemon> {
    let mut command = Command::new(programs.join("kube-apiserver"));
    let mut file = |flag: &str, name: &str| {
        command.arg(format!("{flag}={}", dir.join(name).display()));
    };
    file("--cert-dir", "certificates");
    file("--token-auth-file", TOKENS);
    file("--service-account-key-file", SIGNING_KEY);
    file("--service-account-signing-key-file", SIGNING_KEY);
    file("--audit-policy-file", AUDIT_POLICY);
    file("--audit-log-path", AUDIT);
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(format!("--secure-port={port}"))
        .arg(format!("--bind-address={}", pods.address()))
        .arg(format!("--advertise-address={}", pods.address()))
        .args([
            "--service-cluster-ip-range=10.96.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=RBAC",
        ]);
    command.args(match pods {
        Pods::Never => [
            // There is no network of pods that would have to find it.
            "--endpoint-reconciler-type=none",
            // It waits for the controller that makes each namespace's default account, which does not run.
            "--disable-admission-plugins=ServiceAccount",
        ],
        Pods::On(_) => [
            "--endpoint-reconciler-type=lease",
            // For `kubectl logs` and `exec`: nobody resolves the node's name.
            "--kubelet-preferred-address-types=InternalIP",
        ],
    });
    keeper::spawn("kube-apiserver", &command, dir)
}

const SIGNING_KEY: &str = "service-accounts.pem";
const TOKENS: &str = "tokens.csv";
const AUDIT: &str = "audit.log";
const AUDIT_POLICY: &str = "audit-policy.yaml";
const WHAT_IS_AUDITED: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver"]
- level: None
  userGroups: ["system:masters"]
- level: Metadata
"#;
