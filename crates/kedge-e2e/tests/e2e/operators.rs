//! What an operator's machines ask: alive, ready, metrics; on a port of their own.

use kedge_testkit::census::get;
use rustix::process::Signal;

use crate::prelude::*;

#[test]
fn live_ready_and_metrics_on_the_admin_port_alone() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = hub.admin_address();
        for path in ["/live", "/ready"] {
            let (status, said) = get(admin, path)?;
            ensure!(status == 200, "{path}: {status} {said}");
        }
        let (status, said) = get(admin, "/metrics")?;
        ensure!(
            status == 200 && said.trim_end().ends_with("# EOF"),
            "{said}"
        );
        for line in said.lines().filter(|line| !line.starts_with('#')) {
            ensure!(
                line.starts_with("kedge_"),
                "a metric without our name: {line}"
            );
        }
        for line in said.lines().filter(|line| line.starts_with("# HELP")) {
            ensure!(line.split(' ').count() > 3, "no help: {line}");
        }
        for path in ["/live", "/ready", "/metrics"] {
            let reply = Request::new("GET", path).send(Endpoint::of(&hub))?;
            ensure!(
                reply.status == 404 || reply.status == 401,
                "{path} is on the public port: {}",
                reply.status
            );
        }
        let (status, _) = get(admin, "/apis/kedge.dev/v1alpha1/servers")?;
        ensure!(status == 404, "the API is on the admin port: {status}");
        Ok(())
    })
}

#[test]
fn no_name_of_a_person_or_server_is_a_label() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let mut client = cheap.greeted()?;
        client.write(b"some bytes")?;
        client.read(10)?;
        let (_, said) = get(cheap.hub.admin_address(), "/metrics")?;
        for name in ["alice", SERVER] {
            ensure!(!said.contains(name), "{name} is in the metrics");
        }
        ensure!(said.contains("kedge_hub_sessions 1"), "{said}");
        Ok(())
    })
}

#[test]
fn a_hub_that_stops_says_that_it_is_not_ready_first() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.extra = "[shutdown]\nlame-duck-seconds = 3\n".to_owned();
        let mut hub = Hub::start(options)?;
        let (endpoint, admin) = (Endpoint::of(&hub), hub.admin_address());
        hub.signal(Signal::TERM)?;
        wait::until_true("not ready", defaults::SOON, || {
            Ok(get(admin, "/ready")?.0 == 503)
        })?;
        ensure!(
            get(admin, "/live")?.0 == 200,
            "it stopped living before it stopped"
        );
        // Load balancers have not looked yet: new connections are still served.
        ensure!(
            Request::new("GET", "/.well-known/kedge")
                .send(endpoint)?
                .status
                == 200
        );
        let status = hub.daemon()?.wait(defaults::STOP)?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

#[test]
fn a_hub_that_starts_tells_the_service_manager() -> Result<()> {
    case(|t| {
        let path = t.dir().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(defaults::START))?;
        let mut options = t.hub_options()?;
        options.environment = vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
        let mut hub = Hub::start(options)?;
        let mut said = String::new();
        let mut until = |wanted: &str| -> Result<()> {
            while !said.contains(wanted) {
                let mut message = [0; 4096];
                let count = socket
                    .recv(&mut message)
                    .with_context(|| format!("{wanted} after {said}"))?;
                said.push_str(&String::from_utf8_lossy(&message[..count]));
                said.push('\n');
            }
            Ok(())
        };
        until("READY=1")?;
        hub.signal(Signal::TERM)?;
        until("STOPPING=1")?;
        ensure!(hub.daemon()?.wait(defaults::STOP)?.success());
        Ok(())
    })
}
