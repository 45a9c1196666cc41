"""Ways to ask for a file that is not served: spellings of "up", of absolute names, of ends, of roots."""

from __future__ import annotations

from typing import Final

MARKER: Final = b"CANARY-7f3a9c-OUTSIDE-OF-EVERY-ROOT"
_UPS: Final = (
    b"../",
    b"..%2f",
    b"..%2F",
    b"%2e%2e/",
    b"%2e%2e%2f",
    b".%2e/",
    b"%252e%252e%252f",
    b"%25252e%25252e/",
    b"..\\",
    b"..%5c",
    b"..%255c",
    b"%c0%ae%c0%ae/",
    b"%e0%80%ae%e0%80%ae/",
    b"..%c0%af",
    b"..;/",
    b"..;a=b/",
    b"....//",
    b"..../",
    b"..%00/",
    b"../%00",
    b"..%09/",
    b"..%0d%0a/",
    b"..//",
    b"./../",
    b"/../",
    b"%u002e%u002e/",
    b"%uff0e%uff0e/",
    "．．/".encode(),
    "․․/".encode(),
    "..／".encode(),
    "..∕".encode(),
    b"\xc0\xae\xc0\xae/",
    b"..%ff/",
    b"..?/",
    b"..#/",
    b"..*/",
    b"..:/",
    b"..%20/",
    b"~/../",
    b"$HOME/../",
    b"..%2f..%5c",
)
_PLACES: Final = (
    b"/",
    b"/assets/",
    b"/assets/lab/",
    b"/assets/ipxe/",
    b"/assets/flatcar/stable/",
    b"/assets/flatcar/",
    b"/ui/",
    b"/v1/",
    b"/v1/machines/",
    b"/v1/generations/",
    b"/v1/strays/",
    b"/ignition/",
    b"/boot.ipxe/",
    b"/healthz/",
)
_ENDS: Final = (
    b"",
    b"%00",
    b"%00.efi",
    b"::$DATA",
    b"/",
    b"/.",
    b"?x=.png",
    b"#x",
    b";.css",
    b".",
    b"%20",
    b"%0a",
    b"~",
)
_HOSTS_OWN: Final = (
    b"etc/passwd",
    b"etc/shadow",
    b"proc/self/environ",
    b"proc/self/maps",
    b"proc/1/root" + b"/etc/passwd",
)
_DEEP: Final = 14


def http_targets(canary: bytes) -> list[bytes]:
    """Request targets; `canary` is the absolute name of a file that must stay unread."""
    found = []
    for place in _PLACES:
        found += [place + up * _DEEP + canary.lstrip(b"/") for up in _UPS]
        found += [place + b"../" * _DEEP + own for own in _HOSTS_OWN]
    for place in _PLACES[:6]:
        for end in _ENDS:
            found.append(place + canary.lstrip(b"/") + end)
            found.append(place + b"/" + canary + end)
            found.append(place + b"%2f" + canary.lstrip(b"/").replace(b"/", b"%2F") + end)
            found.append(place + b"plain" + end + b"/../" + canary)
    found += [
        canary,
        b"file://" + canary,
        b"http://172.0.1.1:8080" + canary,
        b"http://172.0.1.1:8080/assets/../../../../.." + canary,
        b"/assets/" + b"a/../" * 800 + b"../" * _DEEP + canary.lstrip(b"/"),
        b"/assets/" + b"x" * 4096,
        b"/assets/" + b"../" * 1360 + canary.lstrip(b"/"),
        b"/assets/lab/vmlinuz/../../../.." + canary,
        b"/ASSETS/../" + canary,
        b"/Assets/..%2f" + canary,
        b"/assets?file=../../.." + canary,
        b"/assets/?../../.." + canary,
        b"/ignition?mac=52-54-00-ac-00-00&file=../../.." + canary,
        b"/ipxe?mac=../../.." + canary,
        b"/generic?uuid=../../.." + canary + b"&profile=../../.." + canary,
        b"/metadata?name=${" + canary + b"}",
        b"/v1/machines/..%2f..%2f.." + canary + b"/ignition",
        b"/v1/generations/..%2f..%2f" + canary,
        b"/ui/..%2f..%2f" + canary,
        b"/cloud?x={{include%20%22" + canary + b"%22}}",
        b"/assets/link",
        b"/assets/link/",
        b"/assets/folder/",
        b"/assets/folder/canary",
        b"/assets/lab/link",
        b"/assets/fifo",
        b"/assets/socket",
        b"/assets/device",
        b"/assets/dangling",
        b"/assets/loop",
        b"/assets/ipxe/link",
        b"/assets/ipxe/folder/canary",
        b"/assets/ipxe/fifo",
        b"/assets/ipxe/socket",
        b"/assets/ipxe/device",
        b"/assets/ipxe/hard",
        b"/assets/flatcar/stable/amd64-usr/current/link",
        b"/assets/flatcar/stable/link",
        b"/assets/flatcar/link",
        b"/assets/flatcar/stable/fifo",
        b"/assets/flatcar/stable/hard",
        b"/assets/hidden/.canary",
        b"/assets/.canary",
    ]
    return list(dict.fromkeys(found))


def tftp_names(canary: bytes) -> list[bytes]:
    """File names for a read request; TFTP decodes nothing: what is an escape in a URL is a plain name."""
    found = []
    for place in (b"", b"/", b"ipxe/", b"./", b"undionly.kpxe/"):
        found += [place + up * 10 + canary.lstrip(b"/") for up in _UPS]
    for end in _ENDS:
        found.append(canary + end)
        found.append(b"/" + canary + end)
        found.append(b"undionly.kpxe" + end + b"/../.." + canary)
    found += [b"../" * 10 + own for own in _HOSTS_OWN] + [b"/" + own for own in _HOSTS_OWN]
    found += [
        b"C:" + canary.replace(b"/", b"\\"),
        b"\\\\172.0.1.1\\c$" + canary.replace(b"/", b"\\"),
        canary.replace(b"/", b"\\"),
        b"link",
        b"folder/canary",
        b"folder",
        b"fifo",
        b"socket",
        b"device",
        b"hard",
        b"dangling",
        b"loop",
        b"link/",
        b"./link",
        b"//link",
        b"LINK",
        b".",
        b"..",
        b"/",
        b"//",
        b"\n" + canary,
        b"a" * 480,
        b"../tftp/link",
        b"../images/canary",
        b"../history.db",
        b"../current/manifest.json",
        b"../../../etc/pxe-appliance/appliance.toml",
    ]
    return list(dict.fromkeys(name for name in found if b"\0" not in name and len(name) < 490))
