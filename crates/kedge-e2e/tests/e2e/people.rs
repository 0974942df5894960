//! Who nobody vouches for gets nothing: no token, a wrong one, another hub's, none configured.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::prelude::*;

#[test]
fn no_token_garbage_and_another_hubs_are_refused() -> Result<()> {
    case(|t| {
        let (hub, other) = (t.hub()?, t.hub()?);
        let endpoint = Endpoint::of(&hub);
        let foreign = other.token("alice")?;
        let path = "/apis/kedge.dev/v1alpha1/servers";
        let attempts = [
            Request::new("GET", path),
            Request::new("GET", path).bearer(""),
            Request::new("GET", path).bearer("garbage"),
            Request::new("GET", path).bearer(foreign),
            Request::new("GET", path).bearer(&"x".repeat(9_000)),
            Request::new("GET", path).header("Authorization", "Basic YWxpY2U6eA=="),
            Request::new("GET", path).header("X-Forwarded-User", "admin"),
            Request::new("GET", &format!("{path}?token={}", hub.token("alice")?)),
            Request::new("GET", "/kedge/v1/connect").upgrade("kedge.v1"),
            Request::new("GET", "/kedge/v1/connect")
                .bearer(foreign)
                .upgrade("kedge.v1"),
        ];
        for request in attempts {
            let reply = request.send(endpoint)?;
            ensure!(
                reply.status == 401,
                "{request:?} got {} {}",
                reply.status,
                reply.text()
            );
            ensure!(!reply.text().contains("kpt_"), "it tells a token");
        }
        // And a token that is one, said in a way that is wrong, is the same as none.
        let reply = Request::new("GET", path)
            .bearer(hub.token("alice")?)
            .send(endpoint)?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        Ok(())
    })
}

#[test]
fn login_checks_the_token_before_it_keeps_it() -> Result<()> {
    case(|t| {
        let (hub, other) = (t.hub()?, t.hub()?);
        let person = t.stranger("eve", None)?;
        for token in ["", "garbage", other.token("alice")?] {
            let ran = person.log_in_with(&hub, &hub.url(), token)?;
            ensure!(ran.code() != Some(0), "`{token}` was taken: {ran}");
            ensure!(ran.err().starts_with("error: "), "{ran}");
        }
        let kept = person.state_home().join("kedge/hubs");
        let tokens = walk(&kept)?
            .into_iter()
            .filter(|path| path.ends_with("token"))
            .count();
        ensure!(tokens == 0, "something was kept: {:?}", walk(&kept)?);
        person
            .kedge(&["get", "servers"])?
            .exits(4)?
            .says(&["hint: ", "kedge login"])?;
        Ok(())
    })
}

#[test]
fn the_token_is_kept_0600_and_forgotten_on_logout() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let person = t.person(&hub, "alice", None)?;
        let files = walk(person.home())?;
        let token = hub.token("alice")?;
        let mut holders = 0;
        for file in &files {
            if fs::read_to_string(file).is_ok_and(|content| content.contains(token)) {
                holders += 1;
                let mode = fs::metadata(file)?.permissions().mode() & 0o7777;
                ensure!(mode == 0o600, "{} is {mode:o}", file.display());
            }
        }
        ensure!(holders == 1, "the token is in {holders} files");
        let said = person.kedge(&["whoami"])?.success()?;
        ensure!(
            said.out().contains("alice") && said.out().contains("dev"),
            "{said}"
        );
        said.never_says(token)?;
        person.kedge(&["logout"])?.success()?;
        for file in walk(person.home())? {
            let there = fs::read_to_string(&file).is_ok_and(|content| content.contains(token));
            ensure!(!there, "{} still has it", file.display());
        }
        person.kedge(&["whoami"])?.exits(4)?;
        Ok(())
    })
}

fn walk(dir: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    Ok(found)
}

#[test]
fn a_token_file_that_others_can_read_is_refused() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let person = t.stranger("alice", None)?;
        let file = t.write("token", hub.token("alice")?)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let words = [
            "login",
            &hub.url(),
            "--pin",
            hub.pin().unwrap_or_default(),
            "--token-file",
        ];
        let mut command = person.kedge_command(&words);
        command.arg(&file);
        let ran = run(command)?;
        ensure!(ran.code() != Some(0), "it was taken: {ran}");
        ensure!(
            ran.err().contains(&file.display().to_string()),
            "the file is not named: {ran}"
        );
        Ok(())
    })
}

#[test]
fn a_hub_without_people_refuses_people() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.people.clear();
        options.admins.clear();
        let (hub, other) = (Hub::start(options)?, t.hub()?);
        let endpoint = Endpoint::of(&hub);
        let reply = Client::dial(endpoint, other.token("alice")?)?;
        ensure!(
            reply.is_err_and(|reply| reply.status == 401),
            "somebody was let in"
        );
        let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers").send(endpoint)?;
        ensure!(reply.status == 401, "{}", reply.status);
        let discovery = Request::new("GET", "/.well-known/kedge").send(endpoint)?;
        ensure!(
            discovery.json()?.pointer("/authentication/methods") == Some(&json!([])),
            "{}",
            discovery.text()
        );
        Ok(())
    })
}

#[test]
fn a_token_of_a_person_opens_no_agents_door_and_the_other_way_round() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let agent = FakeAgent::enrolled(endpoint, SERVER, &admin.join_token(&[])?)?;
        let doors = [
            ("/kedge/v1/agent", hub.token("admin")?.to_owned()),
            ("/kedge/v1/connect", agent.assertion(None)?),
            ("/kedge/v1/connect", admin.join_token(&[])?),
            ("/kedge/v1/agent", admin.join_token(&[])?),
        ];
        for (path, token) in doors {
            let reply = Request::new("GET", path)
                .bearer(&token)
                .upgrade("kedge.v1")
                .send(endpoint)?;
            ensure!(
                reply.status == 401,
                "{path}: {} {}",
                reply.status,
                reply.text()
            );
        }
        let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers")
            .bearer(&agent.assertion(None)?)
            .send(endpoint)?;
        ensure!(
            matches!(reply.status, 401 | 403),
            "an agent reads the list: {}",
            reply.status
        );
        Ok(())
    })
}

#[test]
fn a_browsers_page_may_not_connect() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let request = Request::new("GET", "/kedge/v1/connect")
            .bearer(hub.token("alice")?)
            .header("Origin", "https://evil.example")
            .upgrade("kedge.v1");
        let reply = request.send(Endpoint::of(&hub))?;
        ensure!(reply.status == 403, "{} {}", reply.status, reply.text());
        Ok(())
    })
}
