//! Programs that people use for the same purpose, where they are installed: chisel, frp, rathole, wstunnel; and socat.
//!
//! Each is set up as its own documentation says, so that the path is kedge's: the server's side dials out to a hub,
//! the person's side reaches the hub, both encrypted, and the hub joins the two. socat only copies between `ssh` and
//! the sshd: the least that a `ProxyCommand` can do.
//!
//! ```text
//!           person's side          hub              server's side
//! chisel    client stdio:    ──► server ◄──       client R:           its own SSH inside HTTP
//! frp       frpc visitor     ──► frps   ◄──       frpc stcp           TLS, yamux
//! rathole   (none: plain TCP) ─► server ◄──       client              TLS; the person's side is not encrypted
//! socat     STDIO ───────────────────────────────► sshd               nothing
//! wstunnel  client stdio://  ──► server ◄──       client -R           WebSocket over TLS
//! ```

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kedge_testkit::hub::quoted;
use kedge_testkit::process::Daemon;
use kedge_testkit::{defaults as limits, machine, run, wait};

use super::stage::Stage;

/// Times free ports are looked for when somebody else was faster.
const ATTEMPTS: usize = 3;

/// A server that listens says who it is at once; one that is not there yet is asked again.
const GREETING: Duration = Duration::from_millis(500);

/// What the two sides of a program have in common. Nobody else reaches them: they listen on the loopback.
const SECRET: &str = "bench";

/// One of the programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    /// <https://github.com/jpillora/chisel>
    Chisel,
    /// <https://github.com/fatedier/frp>
    Frp,
    /// <https://github.com/rathole-org/rathole>
    Rathole,
    /// <http://www.dest-unreach.org/socat/>
    Socat,
    /// <https://github.com/erebe/wstunnel>
    Wstunnel,
}

/// How `ssh` gets in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    /// By connecting there.
    Address(SocketAddr),
    /// By running this.
    ProxyCommand(String),
}

/// A program that runs. Dropping it ends its parts.
#[derive(Debug)]
pub(crate) struct Started {
    entry: Entry,
    _parts: Vec<Daemon>,
}

impl Started {
    /// How `ssh` gets in.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Program {
    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chisel => "chisel",
            Self::Frp => "frp",
            Self::Rathole => "rathole",
            Self::Socat => "socat",
            Self::Wstunnel => "wstunnel",
        }
    }

    /// Why it cannot be compared with.
    pub(crate) fn missing(self) -> Option<String> {
        let needed: &[&str] = match self {
            Self::Chisel => &["chisel"],
            Self::Frp => &["frps", "frpc"],
            Self::Rathole => &["rathole", "openssl"],
            Self::Socat => &["socat"],
            Self::Wstunnel => &["wstunnel"],
        };
        let absent = |program: &&&str| machine::find_program(program).is_none();
        let absent = needed.iter().find(absent)?;
        Some(format!("{absent} is not installed"))
    }

    /// Starts its parts in front of an sshd, and waits until the way is open.
    ///
    /// # Errors
    ///
    /// When a part does not start; shows its log.
    pub(crate) fn start(self, stage: &Stage, sshd: SocketAddr) -> Result<Started> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let site = Site {
                dir: stage.subdir(self.name())?,
                hub: local(machine::free_port()?),
                open: local(machine::free_port()?),
                sshd,
            };
            match self.start_at(stage, &site) {
                Ok(started) => return Ok(started),
                Err(error) => last = Some(error),
            }
        }
        let error = last.with_context(|| format!("{} was not tried", self.name()))?;
        Err(error.context(format!("start {}", self.name())))
    }

    fn start_at(self, stage: &Stage, site: &Site) -> Result<Started> {
        let plan = match self {
            Self::Chisel => chisel(site),
            Self::Frp => frp(site),
            Self::Rathole => rathole(site)?,
            Self::Socat => socat(site),
            Self::Wstunnel => wstunnel(site),
        };
        for (name, content) in &plan.files {
            fs::write(site.dir.join(name), content).with_context(|| format!("write {name}"))?;
        }
        let mut parts = Vec::new();
        for words in &plan.parts {
            let (program, words) = words.split_first().context("a program has a name")?;
            let mut command = Command::new(program);
            command.args(words).current_dir(&site.dir);
            let name = stage.unique(program);
            parts.push(Daemon::spawn(&name, command, &stage.logs())?);
        }
        wait::until_true("the way to be open", limits::SOON, || {
            for part in &mut parts {
                ensure!(
                    part.exited()?.is_none(),
                    "a part ended: {}",
                    part.log_tail()
                );
            }
            Ok(greets(plan.begins))
        })?;
        Ok(Started {
            entry: plan.entry,
            _parts: parts,
        })
    }
}

/// Where the parts of a program are.
#[derive(Clone, Debug)]
struct Site {
    dir: std::path::PathBuf,
    /// Where its hub listens.
    hub: SocketAddr,
    /// Where the way to the sshd begins: at the hub, or at the person's side when that has a part that stays.
    open: SocketAddr,
    sshd: SocketAddr,
}

/// What to write and to start, and how to get in then.
#[derive(Debug)]
struct Plan {
    files: Vec<(&'static str, String)>,
    parts: Vec<Vec<String>>,
    /// Where the sshd answers once all parts are up.
    begins: SocketAddr,
    entry: Entry,
}

fn chisel(site: &Site) -> Plan {
    let (hub, open, sshd) = (site.hub, site.open, site.sshd);
    let url = format!("http://{hub}");
    Plan {
        files: Vec::new(),
        parts: vec![
            words(&[
                "chisel",
                "server",
                "--host",
                &hub.ip().to_string(),
                "--port",
                &hub.port().to_string(),
                "--reverse",
            ]),
            words(&["chisel", "client", &url, &format!("R:{open}:{sshd}")]),
        ],
        begins: open,
        entry: Entry::ProxyCommand(format!("chisel client {url} stdio:{open}")),
    }
}

fn frp(site: &Site) -> Plan {
    let (hub, open, sshd) = (site.hub, site.open, site.sshd);
    let server = format!(
        "bindAddr = {}\nbindPort = {}\ntransport.tls.force = true\nlog.level = \"warn\"\n",
        quoted(&hub.ip().to_string()),
        hub.port()
    );
    let client = format!(
        "serverAddr = {}\nserverPort = {}\nloginFailExit = false\nlog.level = \"warn\"\n",
        quoted(&hub.ip().to_string()),
        hub.port()
    );
    let agent = format!(
        "{client}[[proxies]]\nname = \"ssh\"\ntype = \"stcp\"\nsecretKey = {}\nlocalIP = {}\nlocalPort = {}\n",
        quoted(SECRET),
        quoted(&sshd.ip().to_string()),
        sshd.port()
    );
    let visitor = format!(
        "{client}[[visitors]]\nname = \"visitor\"\ntype = \"stcp\"\nserverName = \"ssh\"\nsecretKey = {}\n\
         bindAddr = {}\nbindPort = {}\n",
        quoted(SECRET),
        quoted(&open.ip().to_string()),
        open.port()
    );
    Plan {
        files: vec![
            ("frps.toml", server),
            ("agent.toml", agent),
            ("visitor.toml", visitor),
        ],
        parts: vec![
            words(&["frps", "-c", "frps.toml"]),
            words(&["frpc", "-c", "agent.toml"]),
            words(&["frpc", "-c", "visitor.toml"]),
        ],
        begins: open,
        entry: Entry::Address(open),
    }
}

fn rathole(site: &Site) -> Result<Plan> {
    identity(&site.dir)?;
    let (hub, open, sshd) = (site.hub, site.open, site.sshd);
    let (hub, open, sshd, secret) = (
        quoted(&hub.to_string()),
        quoted(&open.to_string()),
        quoted(&sshd.to_string()),
        quoted(SECRET),
    );
    let server = format!(
        "[server]\nbind_addr = {hub}\n[server.transport]\ntype = \"tls\"\n[server.transport.tls]\n\
         pkcs12 = \"identity.pfx\"\npkcs12_password = {secret}\n\
         [server.services.ssh]\ntoken = {secret}\nbind_addr = {open}\n"
    );
    let client = format!(
        "[client]\nremote_addr = {hub}\n[client.transport]\ntype = \"tls\"\n[client.transport.tls]\n\
         trusted_root = \"identity.crt\"\nhostname = \"localhost\"\n\
         [client.services.ssh]\ntoken = {secret}\nlocal_addr = {sshd}\n"
    );
    Ok(Plan {
        files: vec![("server.toml", server), ("client.toml", client)],
        parts: vec![
            words(&["rathole", "--server", "server.toml"]),
            words(&["rathole", "--client", "client.toml"]),
        ],
        begins: site.open,
        entry: Entry::Address(site.open),
    })
}

fn socat(site: &Site) -> Plan {
    Plan {
        files: Vec::new(),
        parts: Vec::new(),
        begins: site.sshd,
        entry: Entry::ProxyCommand(format!("socat STDIO TCP:{},nodelay", site.sshd)),
    }
}

fn wstunnel(site: &Site) -> Plan {
    let (hub, open, sshd) = (site.hub, site.open, site.sshd);
    let url = format!("wss://{hub}");
    Plan {
        files: Vec::new(),
        parts: vec![
            words(&["wstunnel", "server", "--log-lvl", "WARN", &url]),
            words(&[
                "wstunnel",
                "client",
                "--log-lvl",
                "WARN",
                "-R",
                &format!("tcp://{open}:{sshd}"),
                &url,
            ]),
        ],
        begins: open,
        entry: Entry::ProxyCommand(format!(
            "wstunnel client --log-lvl OFF -L stdio://{open} {url}"
        )),
    }
}

/// A certificate for `localhost` as rathole wants it: an elliptic one, as kedge's.
fn identity(dir: &Path) -> Result<()> {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split_whitespace()).current_dir(dir);
        run::run(command)?.success().map(drop)
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -keyout identity.key -out identity.crt",
    )?;
    openssl(&format!(
        "pkcs12 -export -inkey identity.key -in identity.crt -out identity.pfx -passout pass:{SECRET}"
    ))
}

/// Whether an sshd answers there.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, GREETING) else {
        return false;
    };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(GREETING)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            dir: "/nowhere".into(),
            hub: local(1),
            open: local(2),
            sshd: local(3),
        }
    }

    #[test]
    fn who_is_absent_is_said() {
        // What is installed here is not for a test to know; what is said about the rest is.
        for program in [
            Program::Chisel,
            Program::Frp,
            Program::Rathole,
            Program::Socat,
            Program::Wstunnel,
        ] {
            if let Some(reason) = program.missing() {
                assert!(reason.ends_with(" is not installed"), "{reason}");
            }
        }
    }

    #[test]
    fn each_side_dials_the_hub() {
        for plan in [chisel(&site()), wstunnel(&site())] {
            let lines: Vec<String> = plan.parts.iter().map(|words| words.join(" ")).collect();
            let Entry::ProxyCommand(entry) = &plan.entry else {
                panic!("{plan:?}");
            };
            let server_side = lines.last().unwrap();
            for dialler in [server_side, entry] {
                assert!(dialler.contains("127.0.0.1:1"), "{dialler}");
            }
            assert!(
                server_side.contains("127.0.0.1:2:127.0.0.1:3"),
                "{server_side}"
            );
            assert!(entry.contains("127.0.0.1:2"), "{entry}");
            assert!(!entry.contains("127.0.0.1:3"), "{entry}");
        }
    }

    #[test]
    fn frp_is_encrypted_at_both_sides() {
        let plan = frp(&site());
        let file = |name| {
            let found = plan.files.iter().find(|(file, _)| *file == name);
            found.map(|(_, content)| content.as_str()).unwrap()
        };
        assert!(file("frps.toml").contains("transport.tls.force = true\n"));
        assert!(file("agent.toml").contains("localPort = 3\n"));
        assert!(file("visitor.toml").contains("bindPort = 2\n"));
        for side in ["agent.toml", "visitor.toml"] {
            assert!(file(side).contains("serverPort = 1\n"));
            assert!(!file(side).contains("tls.enable = false"));
        }
        assert_eq!(plan.entry, Entry::Address(local(2)));
    }

    #[test]
    fn nobody_greets_where_nobody_listens() {
        let listener = std::net::TcpListener::bind(local(0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!greets(address), "connected, and nothing said");
        drop(listener);
        assert!(!greets(address));
    }
}
