//! Certificates: pinned when the hub made its own, checked when it has one from files, read again when they change.

use kedge_testkit::hub::{Tls, Trust};
use kedge_testkit::peers::Certificate;

use crate::prelude::*;

fn with_files(t: &Case) -> Result<(Stack, Certificate)> {
    let certificate = Certificate::make(&t.subdir("tls")?)?;
    let mut options = t.hub_options()?;
    options.tls = Tls::Files {
        certificate: certificate.certificate.clone(),
        key: certificate.key.clone(),
    };
    options.trust = Trust::CaFile(certificate.authority.clone());
    let stack = t.stack_with(options)?;
    Ok((stack, certificate))
}

#[test]
fn a_self_signed_certificate_must_have_the_pin() -> Result<()> {
    case(|t| {
        let (hub, other) = (t.hub()?, t.hub()?);
        let person = t.stranger("alice", None)?;
        let file = t.write("token", hub.token("alice")?)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let file = file.display().to_string();
        // Without a pin the system's roots decide, and the pin that would be right is named.
        let ran = person.kedge(&["login", &hub.url(), "--token-file", &file])?;
        ensure!(
            ran.code() != Some(0),
            "an unknown certificate was believed: {ran}"
        );
        ensure!(
            ran.err().contains(hub.pin().context("a pin")?),
            "the pin is not shown: {ran}"
        );
        let ran = person.kedge(&[
            "login",
            &hub.url(),
            "--token-file",
            &file,
            "--pin",
            other.pin().context("a pin")?,
        ])?;
        ensure!(ran.code() != Some(0), "a wrong pin was believed: {ran}");
        person
            .kedge(&[
                "login",
                &hub.url(),
                "--token-file",
                &file,
                "--pin",
                hub.pin().context("a pin")?,
            ])?
            .success()?;
        Ok(())
    })
}

#[test]
fn the_pin_survives_a_restart() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        let pin = hub.pin().map(str::to_owned);
        hub.stop()?;
        hub.launch()?;
        ensure!(hub.pin() == pin.as_deref(), "{:?} and {pin:?}", hub.pin());
        Ok(())
    })
}

#[test]
fn a_certificate_from_files_is_checked_against_its_authority() -> Result<()> {
    case(|t| {
        let certificate = Certificate::make(&t.subdir("tls")?)?;
        let mut options = t.hub_options()?;
        options.tls = Tls::Files {
            certificate: certificate.certificate.clone(),
            key: certificate.key.clone(),
        };
        let hub = Hub::start(options)?;
        let person = t.stranger("alice", None)?;
        let file = t.write("token", hub.token("alice")?)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let file = file.display().to_string();
        let elsewhere = Certificate::make(&t.subdir("elsewhere")?)?;
        for (authority, works) in [(&elsewhere, false), (&certificate, true)] {
            let path = authority.authority.display().to_string();
            let ran = person.kedge(&[
                "login",
                &hub.url(),
                "--token-file",
                &file,
                "--ca-file",
                &path,
            ])?;
            ensure!((ran.code() == Some(0)) == works, "{path}: {ran}");
        }
        person.kedge(&["whoami"])?.success()?;
        Ok(())
    })
}

#[test]
fn changed_files_are_served_without_dropping_a_session() -> Result<()> {
    case(|t| {
        let (stack, first) = with_files(t)?;
        let endpoint = Endpoint::of(&stack.hub);
        ensure!(
            endpoint.certificate()? == first.der,
            "another certificate is served"
        );
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        let folder = first.certificate.parent().context("a folder")?;
        let second = Certificate::make(folder)?;
        wait::until_true("the new certificate to be served", defaults::START, || {
            Ok(endpoint.certificate()? == second.der)
        })?;
        live.send("still here\n")?;
        live.expect("still here", defaults::SOON)?;
        // Files that make no sense are not taken; the last good ones stay.
        std::fs::write(&second.certificate, "garbage")?;
        wait::throughout(
            "the last good certificate to be served",
            Duration::from_secs(3),
            || Ok(endpoint.certificate()? == second.der),
        )?;
        live.finish(defaults::COMMAND)?.success()?;
        Ok(())
    })
}
