//! The store survives what machines do: SIGKILL in the middle of writes, a full disk, a newer file, curious users.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;

use crate::prelude::*;

fn policy(number: usize) -> Result<Value> {
    Person::policy(&format!("p{number}"), &["alice"])
}

#[test]
fn no_acknowledged_write_is_lost_to_sigkill() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        let token = hub.token("admin")?.to_owned();
        let mut written = 0;
        for round in 0..5_usize {
            let endpoint = Endpoint::of(&hub);
            let acknowledged = Mutex::new(0_usize);
            std::thread::scope(|scope| -> Result<()> {
                let writer = scope.spawn(|| {
                    for number in round * 10_000.. {
                        let Ok(policy) = policy(number) else { return };
                        let request =
                            Request::new("POST", "/apis/kedge.dev/v1alpha1/accesspolicies");
                        match request.bearer(&token).json(&policy).send(endpoint) {
                            Ok(reply) if reply.status == 201 => {
                                *acknowledged.lock().unwrap() = number - round * 10_000 + 1;
                            }
                            _ => return,
                        }
                    }
                });
                wait::until_true("some writes", defaults::SOON, || {
                    Ok(*acknowledged.lock().unwrap() > 5 + round * 7)
                })?;
                hub.kill()?;
                writer
                    .join()
                    .map_err(|_| anyhow::anyhow!("the writer panicked"))
            })?;
            hub.launch()?;
            let last = *acknowledged.lock().unwrap();
            written += last;
            let endpoint = Endpoint::of(&hub);
            for number in round * 10_000..round * 10_000 + last {
                let path = format!("/apis/kedge.dev/v1alpha1/accesspolicies/p{number}");
                let reply = Request::new("GET", &path).bearer(&token).send(endpoint)?;
                ensure!(
                    reply.status == 200,
                    "round {round}: p{number} of {last} is lost"
                );
            }
        }
        ensure!(written > 50, "only {written} writes were tried");
        Ok(())
    })
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        hub.stop()?;
        let file = database(&hub)?;
        // SQLite keeps `user_version` at offset 60 of its header, big-endian.
        let mut bytes = fs::read(&file)?;
        bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
        fs::write(&file, &bytes)?;
        let ran = run(hub.command(&["run"]))?;
        ensure!(
            ran.code().is_some_and(|code| code != 0),
            "it was opened: {ran}"
        );
        ran.says(&[&file.display().to_string(), "999", "upgrade"])?;
        ensure!(fs::read(&file)? == bytes, "the file was changed");
        Ok(())
    })
}

#[test]
fn a_file_that_is_no_store_is_a_reason() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        hub.stop()?;
        let file = database(&hub)?;
        fs::write(&file, noise(100_000))?;
        let ran = run(hub.command(&["run"]))?;
        ensure!(ran.code().is_some_and(|code| code != 0), "{ran}");
        ran.says(&[&file.display().to_string()])?;
        Ok(())
    })
}

fn database(hub: &Hub) -> Result<std::path::PathBuf> {
    for entry in fs::read_dir(hub.state_dir())? {
        let path = entry?.path();
        if path.is_file() && fs::read(&path)?.starts_with(b"SQLite format 3\0") {
            return Ok(path);
        }
    }
    bail!("no SQLite file in {}", hub.state_dir().display())
}

#[test]
fn nobody_else_may_read_the_state() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let mode = |path: &std::path::Path| -> Result<u32> {
            Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
        };
        ensure!(
            mode(&hub.state_dir())? == 0o700,
            "{:o}",
            mode(&hub.state_dir())?
        );
        for entry in fs::read_dir(hub.state_dir())? {
            let path = entry?.path();
            // The certificate is what everybody is shown.
            let public = path.extension().is_some_and(|extension| extension == "crt");
            ensure!(
                public || mode(&path)? & 0o077 == 0,
                "{} is {:o}",
                path.display(),
                mode(&path)?
            );
        }
        Ok(())
    })
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(t: &Case) -> Result<Option<Self>> {
        let dir = t.subdir("disk")?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs"])
            .arg(&dir);
        Ok(run(mount)?.success().is_ok().then_some(Self(dir)))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(&self.0);
        let _ = run(unmount);
    }
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_serving() -> Result<()> {
    if !machine::am_root() {
        return skip("a small file system can be mounted by root only");
    }
    case(|t| {
        let Some(disk) = SmallDisk::mount(t)? else {
            return skip("mount is not allowed here");
        };
        let mut options = t.hub_options()?;
        options.dir = disk.0.join("hub");
        let cheap = Cheap::with(t, Hub::start(options)?, Manner::Echo)?;
        let mut live = cheap.greeted()?;
        let ballast = disk.0.join("ballast");
        let mut fill = Command::new("dd");
        fill.args(["if=/dev/zero", "bs=4096"])
            .arg(format!("of={}", ballast.display()));
        run(fill)?;
        let endpoint = cheap.endpoint();
        let token = cheap.hub.token("admin")?;
        let mut refused = None;
        for number in 0..200 {
            let mut policy = policy(number)?;
            policy["spec"]["subjects"]["users"] = json!(
                (0..200)
                    .map(|user| format!("user{user}"))
                    .collect::<Vec<_>>()
            );
            let request = Request::new("POST", "/apis/kedge.dev/v1alpha1/accesspolicies");
            let reply = request.bearer(token).json(&policy).send(endpoint)?;
            if reply.status != 201 {
                refused = Some(reply);
                break;
            }
        }
        let refused = refused.context("a full disk took 200 policies")?;
        ensure!(
            matches!(refused.status, 500 | 503 | 507),
            "{} {}",
            refused.status,
            refused.text()
        );
        ensure!(
            refused.json()?.get("kind") == Some(&json!("Status")),
            "{}",
            refused.text()
        );
        // Reads and sessions go on.
        live.write(b"still here")?;
        ensure!(live.read(10)? == b"still here");
        let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers")
            .bearer(token)
            .send(endpoint)?;
        ensure!(reply.status == 200, "{}", reply.status);
        cheap.greeted()?;
        // And writes do again, when there is room.
        fs::remove_file(&ballast)?;
        wait::until_true("writes to be taken again", defaults::SOON, || {
            let request = Request::new("POST", "/apis/kedge.dev/v1alpha1/accesspolicies");
            let reply = request.bearer(token).json(&policy(9_999)?).send(endpoint)?;
            Ok(matches!(reply.status, 201 | 409))
        })?;
        drop(cheap);
        Ok(())
    })
}
