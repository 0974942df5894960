use std::os::unix::fs::symlink;

use super::*;

/// Packages of stand-ins: any program that is linked with the C library will do.
fn packages(epoch_of_files: bool) -> Option<(tempfile::TempDir, Vec<PathBuf>)> {
    for program in ["dpkg-deb", "dpkg-shlibdeps", "strip"] {
        // `cargo xtask deb` installs what is missing; where there is no Debian there is nothing to test.
        machine::find_program(program)?;
    }
    let folder = tempfile::tempdir().unwrap();
    let bins = folder.path().join("bins");
    fs::create_dir(&bins).unwrap();
    for package in contents::PACKAGES {
        symlink("/bin/true", bins.join(package.name)).unwrap();
    }
    if epoch_of_files {
        // So that the clock is another in the second run.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let wanted = Wanted {
        bins,
        out: folder.path().join("out"),
        revision: 7,
        only: None,
        fast: true,
    };
    let built = build(&Workspace::find().unwrap(), &wanted).unwrap();
    Some((folder, built))
}

fn ask(option: &str, package: &std::path::Path) -> String {
    said("dpkg-deb", &[option, package.to_str().unwrap()]).unwrap()
}

#[test]
fn packages_hold_what_they_promise() {
    let Some((folder, built)) = packages(false) else {
        return;
    };
    let [kedge, agent, hub] = &built[..] else {
        panic!("{built:?}");
    };
    for (package, files) in [
        (
            kedge,
            &[
                "-rwxr-xr-x root/root ./usr/bin/kedge",
                "-rw-r--r-- root/root ./etc/ssh/ssh_config.d/50-kedge.conf",
                "-rw-r--r-- root/root ./usr/share/bash-completion/completions/kedge",
                "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/kedge.fish",
                "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_kedge",
                "-rw-r--r-- root/root ./usr/share/man/man1/kedge-ssh.1.gz",
                "-rw-r--r-- root/root ./usr/share/doc/kedge/copyright",
            ][..],
        ),
        (
            agent,
            &[
                "-rwxr-xr-x root/root ./usr/bin/kedge-agent",
                "-rwxr-xr-x root/root ./usr/libexec/kedge-agent/restart-after-dpkg",
                "-rw-r--r-- root/root ./etc/kedge/agent.toml",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-agent-restart.service",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-agent.service",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-agent.socket",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-sshd.socket",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-sshd@.service",
                "-rw-r--r-- root/root ./usr/lib/sysusers.d/kedge-agent.conf",
                "-rw-r--r-- root/root ./usr/share/man/man8/kedge-agent.8.gz",
            ],
        ),
        (
            hub,
            &[
                "-rwxr-xr-x root/root ./usr/bin/kedge-hub",
                "-rw-r--r-- root/root ./etc/kedge/hub.toml",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-hub-admin.socket",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-hub.service",
                "-rw-r--r-- root/root ./usr/lib/systemd/system/kedge-hub.socket",
                "-rw-r--r-- root/root ./usr/share/doc/kedge-hub/examples/kedge-hub-tls.conf",
            ],
        ),
    ] {
        // Permissions, owner and path; size and time stand between them.
        let listed: Vec<String> = ask("--contents", package)
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                format!("{} {} {}", words[0], words[1], words[5])
            })
            .collect();
        for file in files {
            assert!(
                listed.iter().any(|one| one == file),
                "no {file} in {listed:#?}"
            );
        }
        assert!(
            listed.iter().all(|one| one.contains(" root/root ")),
            "{listed:#?}"
        );
        let about = ask("--info", package);
        assert!(
            about.contains("Version: 0.1.0-7") && about.contains("libc6 (>= "),
            "{about}"
        );
    }
    drop(folder);
}

#[test]
fn packages_share_no_file() {
    let Some((_folder, built)) = packages(false) else {
        return;
    };
    let mut seen = std::collections::BTreeSet::new();
    for package in &built {
        for line in ask("--contents", package).lines() {
            let path = line.split_whitespace().last().unwrap();
            assert!(
                path.ends_with('/') || seen.insert(path.to_owned()),
                "{path}"
            );
        }
    }
}

#[test]
fn configuration_is_the_administrators_and_scripts_are_whole() {
    let Some((folder, built)) = packages(false) else {
        return;
    };
    for (package, files) in built.iter().zip([
        "/etc/ssh/ssh_config.d/50-kedge.conf\n",
        "/etc/kedge/agent.toml\n",
        "/etc/kedge/hub.toml\n",
    ]) {
        let control = folder.path().join("control");
        let words = [
            "--control",
            package.to_str().unwrap(),
            control.to_str().unwrap(),
        ];
        said("dpkg-deb", &words).unwrap();
        assert_eq!(
            fs::read_to_string(control.join("conffiles")).unwrap(),
            files
        );
        for script in ["postinst", "prerm", "postrm"] {
            let path = control.join(script);
            if let Ok(text) = fs::read_to_string(&path) {
                said("sh", &["-n", path.to_str().unwrap()]).unwrap();
                assert!(
                    !text.contains("#PACKAGE#") && !text.contains("#S"),
                    "{text}"
                );
            }
        }
        fs::remove_dir_all(control).unwrap();
    }
}

#[test]
fn the_same_programs_give_the_same_packages() {
    let Some((_one, first)) = packages(false) else {
        return;
    };
    let (_two, second) = packages(true).unwrap();
    for (a, b) in first.iter().zip(&second) {
        assert!(
            fs::read(a).unwrap() == fs::read(b).unwrap(),
            "{}",
            a.display()
        );
    }
}
