//! Bytes arrive as they were sent, through every tool that people use.

use std::fs;

use crate::prelude::*;

const MIB: usize = 1024 * 1024;

#[test]
fn ten_mib_up_and_down_with_kedge_ssh() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bytes = noise(10 * MIB);
        let command = stack.alice.kedge_ssh_command(&[SERVER, "cat"]);
        let ran = feed(command, bytes.clone(), defaults::BULK)?.success()?;
        ensure!(
            ran.stdout == bytes,
            "{} bytes came back, or other ones",
            ran.stdout.len()
        );
        Ok(())
    })
}

#[test]
fn a_hundred_mib_down_and_up() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bytes = noise(100 * MIB);
        let there = t.write("there", &bytes)?;
        let words = format!("cat {}", there.display());
        let command = stack.alice.kedge_ssh_command(&[SERVER, &words]);
        let down = feed(command, Vec::new(), defaults::BULK)?.success()?;
        ensure!(
            down.stdout == bytes,
            "{} bytes came down, or other ones",
            down.stdout.len()
        );
        drop(down);
        let back = t.dir().join("back");
        let words = format!("cat > {}", back.display());
        let command = stack.alice.kedge_ssh_command(&[SERVER, &words]);
        feed(command, bytes.clone(), defaults::BULK)?.success()?;
        ensure!(fs::read(&back)? == bytes, "other bytes went up");
        Ok(())
    })
}

#[test]
fn scp_both_protocols_both_ways() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bytes = noise(3 * MIB + 17);
        let here = t.write("here", &bytes)?.display().to_string();
        for (index, protocol) in ["-s", "-O"].iter().enumerate() {
            let there = t.dir().join(format!("there{index}")).display().to_string();
            let back = format!("{there}.back");
            let up = format!("{}:{there}", stack.host());
            run(stack.alice.openssh("scp", &["-q", protocol, &here, &up]))?.success()?;
            ensure!(fs::read(&there)? == bytes, "scp {protocol} up");
            run(stack.alice.openssh("scp", &["-q", protocol, &up, &back]))?.success()?;
            ensure!(fs::read(&back)? == bytes, "scp {protocol} down");
        }
        Ok(())
    })
}

#[test]
fn sftp_batch() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bytes = noise(MIB + 3);
        let here = t.write("here", &bytes)?.display().to_string();
        let there = t.dir().join("there").display().to_string();
        let batch = t.write(
            "batch",
            format!("put {here} {there}\nget {there} {there}.back\n"),
        )?;
        let words = ["-b".to_owned(), batch.display().to_string(), stack.host()];
        run(stack.alice.openssh("sftp", &words))?.success()?;
        ensure!(fs::read(format!("{there}.back"))? == bytes);
        Ok(())
    })
}

#[test]
fn rsync_a_folder_both_ways() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let folder = t.subdir("folder")?;
        fs::create_dir_all(folder.join("deeper"))?;
        fs::write(folder.join("a file with spaces"), noise(MIB))?;
        fs::write(folder.join("deeper/empty"), "")?;
        let ssh = format!("ssh -F {}", stack.alice.ssh_config().display());
        let slashed = |path: &std::path::Path| format!("{}/", path.display());
        let (from, there, back) = (
            slashed(&folder),
            slashed(&t.dir().join("there")),
            slashed(&t.dir().join("back")),
        );
        let remote = format!("{}:{there}", stack.host());
        for (source, target) in [(&from, &remote), (&remote, &back)] {
            let mut rsync = stack.alice.command("rsync");
            rsync.args(["-a", "-e", &ssh, source, target]);
            run(rsync)?.success()?;
        }
        ensure!(fs::read(format!("{back}a file with spaces"))? == noise(MIB));
        ensure!(fs::read(format!("{back}deeper/empty"))?.is_empty());
        Ok(())
    })
}

#[test]
fn git_clone_and_push() -> Result<()> {
    if machine::find_program("git").is_none() {
        return skip("git is not installed");
    }
    case(|t| {
        let stack = t.stack()?;
        let (bare, clone) = (t.dir().join("bare.git"), t.dir().join("clone"));
        let git = |words: &[&str]| {
            let mut git = stack.alice.command("git");
            git.env(
                "GIT_SSH_COMMAND",
                format!("ssh -F {}", stack.alice.ssh_config().display()),
            );
            for (name, value) in [
                ("user.name", "a"),
                ("user.email", "a@example"),
                ("init.defaultBranch", "main"),
            ] {
                git.args(["-c", &format!("{name}={value}")]);
            }
            git.args(words);
            run(git)?.success()
        };
        let shown = |path: &std::path::Path| path.display().to_string();
        git(&["init", "--quiet", "--bare", &shown(&bare)])?;
        let url = format!("{}:{}", stack.host(), shown(&bare));
        git(&["clone", "--quiet", &url, &shown(&clone)])?;
        fs::write(clone.join("file"), noise(MIB))?;
        git(&["-C", &shown(&clone), "add", "file"])?;
        git(&["-C", &shown(&clone), "commit", "--quiet", "-m", "a file"])?;
        git(&[
            "-C",
            &shown(&clone),
            "push",
            "--quiet",
            "origin",
            "HEAD:main",
        ])?;
        let listed = git(&["-C", &shown(&bare), "ls-tree", "--name-only", "main"])?;
        ensure!(listed.out().trim() == "file", "what was pushed: {listed}");
        Ok(())
    })
}
