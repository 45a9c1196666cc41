"""What the manual says besides the commands: exit codes, files, environment, examples. Pure; kept as data."""

from __future__ import annotations

from typing import Final

from appliance.errors import ExitCode

EXIT_STATUS: Final[tuple[tuple[ExitCode, str], ...]] = (
    (ExitCode.FINE, "Fine."),
    (ExitCode.BUG, "A bug of ours."),
    (ExitCode.USAGE, "The command was not written as this page says."),
    (
        ExitCode.OPERATOR,
        "What you wrote is wrong: settings, inventory, a name. Each problem is named with its place.",
    ),
    (ExitCode.REFUSED, "Refused: unsafe, untrusted, or running already."),
    (
        ExitCode.SURROUNDINGS,
        "The surroundings failed: the host, the network, a mirror, or no daemon answers.",
    ),
    (ExitCode.ROLLED_BACK, "Applied, not proven on the wire, and rolled back."),
    (ExitCode.CHANGES_PENDING, "Of plan --exit-code: something would change."),
)

FILES: Final[tuple[tuple[str, str], ...]] = (
    (
        "/etc/pxe-appliance/appliance.toml",
        "Settings; init writes them commented. See pxe-appliance-settings(5).",
    ),
    (
        "/etc/pxe-appliance/inventory.d/",
        "Machines and profiles, in TOML, YAML, JSON or CSV. See pxe-appliance-inventory(5).",
    ),
    ("/etc/pxe-appliance/ignition.d/", "What profiles name as ignition: Ignition or Butane."),
    ("/etc/pxe-appliance/matchbox/", "Matchbox data of your own: groups, profiles, templates, assets."),
    (
        "/etc/pxe-appliance/keys.d/",
        "Signing keys: a mirror's own, or a project's where it cannot be fetched.",
    ),
    ("/etc/pxe-appliance/secrets.d/", "What deliveries to webhooks are signed with."),
    ("/etc/pxe-appliance/images.lock", "What may be served, by version, size, SHA-512 and signer."),
    (
        "/etc/pxe-appliance/dnsmasq.d/*.conf",
        "Directives of dnsmasq of your own, checked with everything else.",
    ),
    ("/etc/default/pxe-appliance", "Proxies for the nightly fetch of images (pxe-appliance-images.timer)."),
    ("/var/lib/pxe-appliance/", "Ours: generations, images, boot files, history."),
    (
        "/run/pxe-appliance/control.sock",
        "Where the commands reach the daemon; for root and the group pxe-appliance.",
    ),
)

ENVIRONMENT: Final[tuple[tuple[str, str], ...]] = (
    ("PXE_APPLIANCE_ROOT", "What --root is when it is not given: everything of the appliance is below it."),
    ("NO_COLOR", "Set to anything: no colours and no bold type."),
    (
        "http_proxy, https_proxy, no_proxy",
        "Proxies for images fetch. The daemon's own questions and its webhooks never take one.",
    ),
)

EXAMPLES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "Begin: settings and an example inventory, then the service.",
        (
            "pxe-appliance init --interface eno4 --subnet 172.0.1.0/24",
            "systemctl start pxe-appliance",
        ),
    ),
    ("Look before you leap, then change the wire.", ("pxe-appliance plan", "pxe-appliance sync --yes")),
    (
        "A machine does not boot: why, and would it?",
        ("pxe-appliance why node1", "pxe-appliance prove node1"),
    ),
    (
        "Somebody asks and is not served: who, and into the inventory with it.",
        ("pxe-appliance strays", "pxe-appliance strays adopt 52:54:00:aa:00:07 --name node7"),
    ),
)
