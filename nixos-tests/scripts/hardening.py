"""Hub and agent may do what they must and little else: systemd's own measure says so, and what runs agrees."""

start_all()
hub.wait_for_unit("kedge-hub.service")
web01.wait_for_unit("kedge-agent.service")

for machine, unit, user in [(hub, "kedge-hub", "kedge-hub"), (web01, "kedge-agent", "kedge-agent")]:
    with subtest(f"{unit} scores at most 2.0"):
        machine.succeed(f"systemd-analyze security --no-pager --threshold=20 {unit}.service")

    with subtest(f"{unit} runs as {user}, without capabilities, and cannot get any"):
        pid = machine.succeed(f"systemctl show --value --property=MainPID {unit}").strip()
        status = machine.succeed(f"cat /proc/{pid}/status")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert fields["Uid"].split()[0] == machine.succeed(f"id -u {user}").strip()
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(fields[name], 16) == 0, f"{name}: {fields[name]}"
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["Seccomp"].strip() == "2"

    with subtest(f"{unit} may have the files that its connections take"):
        limits = machine.succeed(f"cat /proc/{pid}/limits")
        files = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
        # A container cannot have more than its host lets it.
        assert files[3] == files[4], files
        assert machine.succeed(f"systemctl show --value --property=LimitNOFILE {unit}").strip() == "65536"

    with subtest(f"{unit}'s state is its own"):
        assert machine.succeed(f"stat -L -c '%U %a' /var/lib/{unit}").split() == [user, "700"]

with subtest("the agent's control socket is root's"):
    assert web01.succeed("stat -c '%U %a' /run/kedge-agent/control.sock").split() == ["root", "600"]

with subtest("the hub's probes are asked from the machine itself only"):
    hub.wait_until_succeeds("curl --fail --silent http://127.0.0.1:9443/ready")
    web01.fail("curl --fail --silent --max-time 5 http://hub:9443/ready")
