"""Boots that stop, and boots that do not, as data: what is told, when somebody looks, what they must read.

A line is `expected @ seconds | what happens`. Expected is the id of a verdict, with `~` in front when the
machine must not count as stuck yet, or `-` for none. What happens is a list of `word@seconds`, `word` as in
`WORDS` of test_verdicts.py; `3:word` is about node3. Until another one is named, all of it is about the case's
own machine: node1 (installed once), `n2` in front of the expectation makes it node2, and so on.

node1 installs once. node2 boots live. node3 loads a kernel and nothing else. node4's kernel comes from
another host. node5 has no profile. node6 boots from its disk.
"""

from __future__ import annotations

from typing import Final

HEALTHY: Final = """
- @ 40 | FW@0 B@2 PX@9 S@9 K@10 N@11 os@16 G@17 F@30
- @ 30 | PX@0 S@0 K@1 N@2 os@7 G@8 F@12
n2 - @ 60 | FW@0 B@1 B@6 PX@28 S@28 K@30 N@31 G@40 F@55
n2 - @ 100 | D@0 D@4 O@4 R@4 A@4 B@8 d@20 o@20 d@21 o@21 r@21 a@21 I@21 S@22 K@23 N@24 G@40 F@50
n3 - @ 400 | PX@0 S@0 K@1
n4 - @ 100 | PX@0 S@0 G@90
n5 - @ 500 | PX@0 S@0
n6 - @ 90 | alone@0
n6 - @ 90 | alone@0 os@30 os@60
- @ 60 | installed@0 FW@1 B@3 PX@9 disk@9 alone@20
- @ 600 | installed@0 alone@1 F@60 os@100 os@400
- @ 40 | D@0 O@0 D@4 O@4 D@12 O@12 R@12 A@12 B@14 PX@20 S@20 K@21 N@22 G@30
- @ 40 | nak@0 FW@1 B@3 PX@10 S@10 K@11 N@12 G@20
- @ 20 | FW@0 tsize@1 B@2 B@5 PX@10 S@10
n2 - @ 50 | FW@0 B@2 PX@9 http(/ipxe,404,=not-itself,no_lease_of_node2)@9 d@14 o@14 r@14 a@14 S2@15 K@16 N@17 G@30
n2 - @ 58 | PX@0 S@0 load(/assets/lab/vmlinuz)@1 over(/assets/lab/vmlinuz)@50 K@50 load(/assets/lab/initrd.gz)@51
n2 - @ 80 | PX@0 S@0 K@1 load(/assets/lab/initrd.gz)@2 over(/assets/lab/initrd.gz)@50 N@50
n2 - @ 60 | other-os@0 FW@10 B@12 PX@18 S@18 K@19 N@20 G@30 F@40
- @ 100 | other@0 other@4 other@12 other@28 FW@60 B@62 PX@68 S@68 K@69 N@70 G@80 F@90
- @ 99 | FW@0 B@1 PX@7 S@7 K@8 N@9 os@14 G@15 report(installing)@25 F(installed)@95
- @ 700 | FW@0 B@1 PX@7 S@7 K@8 N@9 os@14 G@15 report(installing)@25
n2 - @ 110 | PX@0 S@0 K@1 N@2 os@5 G@6
- @ 0 |
- @ 9999 |
n2 - @ 60 | stranger@0 PX@1 S@1 K@2 N@3 G@9 F@15
n2 - @ 3 | FW@0 down@0 up@2 B@3
n2 - @ 44 | FW@0
n2 - @ 19 | D@0
n2 - @ 40 | D@0 O@0
n2 - @ 19 | D@0 O@0 R@0
n2 - @ 51 | FW@0 B@2
n2 - @ 29 | PX@0
n2 - @ 29 | PX@0 S@0
n2 - @ 30 | PX@0 S@0 K@1
n2 - @ 59 | PX@0 S@0 K@1 N@2
n2 - @ 20 | FW@0 B@2 PX@9 S@9 3:FW@10 3:B@11
"""

STOPPED: Final = """
n2 never-asked? @ 100 |
n2 never-asked? @ 100 | stranger@50
n2 never-asked? @ 100 | 3:FW@0
n2 image-missing? @ 10 | nothing@0
n2 image-missing? @ 10 | nothing@0 stranger@5
n2 image-missing? @ 10 | down@0 up@1 nothing@2
n2 interface-down? @ 10 | down@0
n2 interface-down? @ 10 | down@0 stranger@1
n2 interface-down? @ 10 | up@0 down@5
n2 ~wrong-mac? @ 10 | typo@0
n2 - @ 59 | typo@0 typo@4 typo@12
n2 ~wrong-mac @ 60 | typo@0 typo@4 typo@12
n2 ~wrong-mac @ 3000 | PX@0 S@0 K@1 N@2 G@9 F@20 uuid@2930 uuid@2990
n2 - @ 3000 | PX@0 S@0 K@1 N@2 G@9 F@20 uuid@2990
n2 -? @ 3000 | PX@0 S@0 K@1 N@2 G@9 F@20 uuid@2930 renew@2940 uuid@2990
n2 -? @ 3000 | uuid@0 uuid@28 PX@60 S@60 K@61 N@62 G@70 F@90 uuid@2900
n2 -? @ 40 | PX@0 S@0 K@1 N@2 uuid@3 uuid@30
n2 kernel-refused? @ 70 | PX@0 S@0 http(/assets/lab/vmlinuz,404)@1 uuid@2 uuid@60
n2 no-call-home? @ 700 | PX@0 S@0 K@1 N@2 os@7 G@8 uuid@9 uuid@600
n2 other-nic-asks @ 65 | uuid@0 other@0 other@4 other@12 other@28 other@60 uuid@61
n2 interface-down? @ 100 | uuid@0 down@10
n2 ~wrong-mac? @ 30 | uuid@0
- @ 30 | 2:uuid@0
n2 - @ 4000 | typo@0
n2 other-nic-asks @ 65 | other@0 other@4 other@12 other@28 other@60
other-nic-asks @ 66 | other@0 other@30 other@61
n2 other-nic-asks @ 165 | PX@0 S@0 K@1 N@2 G@9 F@20 other@100 other@128 other@160
n2 ~other-nic-strays @ 165 | PX@0 S@0 K@1 N@2 G@9 F@20 other@23
n2 - @ 59 | other@0 other@4 other@12 other@28
n2 - @ 5000 | other@0 other@60
n2 ~other-nic-strays @ 200 | PX@0 S@0 K@1 N@2 G@9 F@20 other-os@100
n2 ~other-nic-strays @ 200 | PX@0 S@0 K@1 N@2 G@9 F@20 other-os@100 other-os@130 other-os@190
n6 ~other-nic-strays @ 90 | alone@0 other-os@40
n2 - @ 5000 | PX@0 S@0 K@1 N@2 G@9 F@20 other-os@100
interface-down @ 20 | FW@0 down@2
interface-down @ 9 | D@0 O@0 down@2
n2 interface-down @ 40 | FW@0 B@2 PX@9 S@9 K@10 down@15
n2 - @ 19 | FW@0 B@2 PX@9 S@9 K@10 down@15
n3 - @ 900 | PX@0 S@0 K@1 down@600
n3 - @ 900 | PX@0 S@0 K@1 deaf@600
n2 - @ 12 | D@0 restart@10
n2 - @ 40 | FW@0 down@1 up@3 B@4 PX@10 S@10 K@11 N@12
no-boot-file @ 1 | ignored(no-boot-file)@0
n2 no-boot-file @ 59 | ignored(no-boot-file)@0 ignored(no-boot-file)@4 ignored(no-boot-file)@12
no-boot-file @ 70 | FW@0 B@2 PX@9 ignored(no-boot-file)@60
- @ 40 | ignored(no-boot-file)@0 FW@10 B@12 PX@20 S@20
wrong-network @ 5 | ignored(wrong-network)@0
n2 wrong-network @ 30 | ignored(wrong-network)@0 ignored(wrong-network)@4 ignored(wrong-network)@12
wrong-network @ 1000 | F@0 ignored(wrong-network)@990
n2 - @ 22 | FW@0 B@2 ignored(wrong-network)@3 PX@10 S@10 K@11 N@12
address-taken @ 5 | blocked@0 ignored(no-address)@0
n2 address-taken @ 40 | blocked@0 ignored(no-address)@0 blocked@4 ignored(no-address)@4
n2 address-taken @ 15 | D@0 O@0 R@0 blocked@1
n2 - @ 15 | 3:blocked@0 3:ignored(no-address)@0
declined @ 10 | FW@0 decline@1
n2 declined @ 20 | FW@0 decline@1 FW@11 decline@12
n2 declined @ 30 | FW@0 decline@1 disabled@1 ignored(no-address)@11
n2 declined @ 13 | FW@0 decline@1 D@11 O@11
n2 - @ 40 | FW@0 decline@1 FW@11 B@13 PX@20 S@20 K@21 N@22
no-address @ 5 | ignored(no-address)@0
n2 no-address @ 15 | ignored(no-address)@0 ignored(no-address)@4
n2 no-address @ 200 | blocked@0 ignored(no-address)@0 ignored(no-address)@195
bootp @ 5 | ignored(bootp)@0
n2 bootp @ 15 | ignored(bootp)@0 ignored(bootp)@4
n2 bootp @ 99 | F@0 ignored(bootp)@90
not-served @ 5 | ignored(not-served)@0
n2 not-served @ 15 | ignored(not-served)@0 ignored(not-served)@4
n2 not-served @ 99 | F@0 ignored(not-served)@90
- @ 60 | F@0 ignored-os(not-served)@30
~second-server @ 2 | D@0 O@0 rogue@0
n2 second-server @ 46 | D@0 O@0 rogue@0
n2 second-server @ 50 | server@0 D@1 O@1
n2 - @ 20 | server@0 D@1 O@1
n2 ~second-server @ 30 | D@0 O@0 rogue@0 D@5 O@5 rogue@5
n2 second-server @ 25 | server@0 D@0 O@0 D@4 O@4 D@12 O@12
n2 offer-not-taken @ 50 | claimed@0 D@1 O@1
n2 - @ 44 | claimed@0 D@1 O@1
n2 no-offer @ 30 | server@0 D@1
dhcp-down @ 30 | D@0 O@0 rogue@0 killed@1
n2 bootfile-not-asked @ 60 | server@0 FW@1
n2 - @ 40 | server@0 FW@1 B@3 PX@10 S@10 K@11 N@12 G@20
n2 - @ 30 | D@0 O@0 rogue@0 FW@4 B@6 PX@13 S@13 K@14
dhcp-down @ 10 | D@0 killed@0
n2 dhcp-down @ 20 | D@0 O@0 killed@1
n2 dhcp-down @ 20 | D@0 O@0 R@0 killed@1
nak @ 5 | D@0 O@0 R@0 nak@0
n2 nak @ 20 | D@0 O@0 R@0 nak@0 D@4 O@4 R@4 nak@4
n2 nak @ 6 | D@0 O@0 R@0 nak@0 D@4 O@4
no-offer @ 30 | D@0
n2 no-offer @ 60 | D@0 D@4 D@12 D@28
n2 no-offer @ 21 | D@0 3:FW@1
proxy-not-merged @ 50 | proxy@0 D@0 O@0 D@4 O@4 D@12 O@12 D@28 O@28
n2 proxy-not-merged @ 46 | proxy@0 D@0 O@0
n2 proxy-not-merged @ 64 | proxy@0 D@0 O@0 D@30 O@30 server@40
n2 - @ 44 | proxy@0 D@0 O@0 D@4 O@4 D@12 O@12 D@28 O@28
n2 - @ 30 | proxy@0 D@0 O@0 B@2 d@9 o@9 I@9 S@9 K@10 N@11
offer-not-taken @ 25 | D@0 O@0 D@4 O@4 D@12 O@12
n2 offer-not-taken @ 50 | D@0 O@0
n2 offer-not-taken @ 40 | D@0 O@0 D@4 O@4 D@12 O@12 D@28 O@28
n2 - @ 40 | D@0 O@0 D@4 O@4
no-ack @ 25 | D@0 O@0 R@0
n2 no-ack @ 60 | D@0 O@0 R@0 R@4 R@8
n2 no-ack @ 30 | D@0 O@0 R@0 3:FW@20
tftp-missing @ 5 | FW@0 tftp(ipxe.efi,no_such_file)@1
n2 tftp-missing @ 30 | FW@0 tftp(pxelinux.0,no_such_file)@1 tftp(pxelinux.0,no_such_file)@2
n2 tftp-missing @ 9 | FW@0 B@1 tftp(grubx64.efi,no_such_file)@4
n2 - @ 30 | FW@0 tftp(ipxe.efi,no_such_file)@1 FW@10 B@12 PX@19 S@19
tftp-broken @ 31 | FW@0 tftp(ipxe.efi,the_transfer_was_not_finished)@29
n2 tftp-broken @ 9 | FW@0 tftp(ipxe.efi,unsupported_request)@1
n2 tftp-broken @ 40 | FW@0 B@1 tftp(ipxe.efi,the_transfer_was_not_finished)@30
tftp-down @ 12 | FW@0 tftp-killed@1
n2 tftp-down @ 40 | tftp-killed@0 FW@1
n2 tftp-down @ 7 | FW@0 tftp-killed@0
n2 - @ 7 | HW@0 tftp-killed@0
first-stage-refused @ 5 | HW@0 http(/assets/ipxe/ipxe.efi,404,no_such_file)@1
n2 first-stage-refused @ 9 | HW@0 http(/assets/ipxe/ipxe.efi,403,not_for_you)@1
n2 first-stage-refused @ 9 | HW@0 http(/assets/ipxe/ipxe.efi,404)@1 http(/assets/ipxe/ipxe.efi,404)@5
no-file-named @ 8 | NW@0
n2 no-file-named @ 50 | NW@0
n2 no-file-named @ 8 | D@0 O@0 NW@1
n2 - @ 3 | NW@0
bootfile-not-asked @ 46 | FW@0
n2 bootfile-not-asked @ 60 | HW@0
n2 bootfile-not-asked @ 52 | FW@0 3:FW@1 3:B@3
tftp-not-taken @ 60 | FW@0 B@29
n2 tftp-not-taken @ 62 | FW@0 B@30
n2 tftp-not-taken @ 90 | FW@0 B@29
n2 - @ 42 | FW@0 B@29 PX@36 S@36 K@37 N@38
ipxe-dhcp-unanswered @ 20 | FW@0 B@2 d@9 o@9 d@10 o@10 d@12 o@12
n2 ipxe-dhcp-unanswered @ 35 | FW@0 B@2 d@9 o@9
n2 ipxe-dhcp-unanswered @ 30 | FW@0 B@2 d@9 d@11 d@13
n2 - @ 12 | FW@0 B@2 d@9 o@9 d@10 o@10
~first-stage-again @ 110 | FW@0 B@2 FW@100 B@102
n2 first-stage-again @ 160 | FW@0 B@2 FW@100 B@102
n2 ~first-stage-again @ 65 | FW@0 B@2 FW@61 B@63
n2 - @ 120 | FW@0 B@2 FW@100 B@102 PX@109 S@109 K@110 N@111
n2 - @ 110 | FW@0 B@2 PX@9 S@9 K@10 FW@100 B@102
ipxe-silent @ 60 | FW@0 B@2
n2 ipxe-silent @ 53 | FW@0 B@2
n2 ipxe-silent @ 66 | FW@0 B@1 B@12
n2 - @ 60 | FW@0 B@1 B@12
http-down @ 20 | deaf@0 FW@1 B@3 PX@9
n2 http-down @ 12 | deaf@0 PX@1 S@1
n2 http-down @ 12 | deaf@0 HW@1
n2 - @ 40 | deaf@0 FW@1
no-profile @ 2 | PX@0 http(/ipxe,404,=no-profile,no_group_matches)@1
n5 no-profile @ 9 | PX@0 http(/ipxe,404,=no-profile,no_group_matches)@1
n2 no-profile @ 9 | PX@0 http(/grub,404,=no-profile,profile_'x'_boots_nothing)@1
image-missing @ 2 | PX@0 http(/ipxe,404,=image,image_flatcar/stable/amd64_is_not_in_the_store)@1
n2 image-missing @ 9 | PX@0 http(/ipxe,404,=image,image_flatcar/stable@1_is_not_pinned_in_images.lock)@1
n2 image-missing @ 9 | PX@0 http(/ipxe,404,=image,image_flatcar/stable@1_is_damaged:_vmlinuz)@1
n2 - @ 20 | PX@0 http(/ipxe,404,=image,image_flatcar/stable/amd64_is_not_in_the_store)@1 S2@7 K@8 N@9
not-itself @ 9 | PX@0 http(/ipxe,404,=not-itself,no_lease_of_node1_at_172.0.1.21)@1 PX@6 http(/ipxe,404,=not-itself,no_lease_of_node1_at_172.0.1.21)@7
n2 not-itself @ 9 | PX@0 http(/ipxe,404,=not-itself,172.0.1.22_is_answered_for_by_52:54:00:cc:00:01)@1 http(/ipxe,404,=not-itself,172.0.1.22_is_answered_for_by_52:54:00:cc:00:01)@7
n2 not-itself @ 19 | PX@0 S@0 http(/ipxe,404,=not-itself,172.0.1.22_is_node1's_address)@6 http(/ipxe,404,=not-itself,172.0.1.22_is_node1's_address)@12
n2 - @ 9 | PX@0 http(/ipxe,404,=not-itself,no_lease_of_node2_at_172.0.1.22)@1
script-refused @ 2 | PX@0 http(/ipxe,503,it_is_too_much)@1
n2 script-refused @ 9 | PX@0 http(/boot.ipxe,500)@1
n2 script-refused @ 9 | PX@0 S@0 http(/ipxe,404,machine_node2_has_no_Ignition)@6
endpoint-down @ 30 | external@0 endpoint-off@0 PX@1 S@1
n2 endpoint-down @ 30 | external@0 PX@0 S@0 endpoint-off@5
n2 - @ 20 | external@0 PX@0 S@0 endpoint-off@5
n2 - @ 900 | external@0 PX@0 S@0 endpoint-off@600
n2 - @ 29 | external@0 endpoint-off@0 FW@0
n2 endpoint-down @ 600 | external@0 endpoint-off@0 FW@1 B@3 PX@9 S@9
n2 - @ 20 | external@0 endpoint-off@0 endpoint-on@5 PX@6 S@6
n2 - @ 20 | external@0 endpoint-off@0 FW@6
endpoint-silent @ 20 | external@0 PX@0 S@0 PX@6 PX@12
n2 endpoint-silent @ 30 | external@0 PX@0 S@0 PX@6 PX@12 PX@18
n2 endpoint-silent @ 40 | external@0 endpoint-on@0 FW@0 B@2 PX@9 S@9 PX@15 PX@21
n2 - @ 10 | external@0 PX@0 S@0 PX@6
script-not-asked @ 35 | PX@0
n2 script-not-asked @ 60 | FW@0 B@2 PX@9
n2 script-not-asked @ 43 | PX@0 PX@16 PX@32
kernel-refused @ 3 | PX@0 S@0 http(/assets/lab/vmlinuz,404,no_such_file)@1
n2 kernel-refused @ 20 | PX@0 S@0 http(/assets/lab/vmlinuz,404)@1 PX@6 S2@7 http(/assets/lab/vmlinuz,404)@8
n2 kernel-refused @ 9 | PX@0 S@0 http(/assets/lab/vmlinuz,404,damaged,_and_not_served)@1
n2 - @ 20 | PX@0 S@0 http(/assets/lab/vmlinuz,404)@1 PX@6 S2@7 K@8 N@9
initrd-refused @ 3 | PX@0 S@0 K@1 http(/assets/lab/initrd.gz,404)@2
n2 initrd-refused @ 12 | PX@0 S@0 K@1 http(/assets/lab/initrd.gz,404)@2 PX@8 S2@9
n2 initrd-refused @ 3 | PX@0 S@0 K@1 http(/assets/lab/initrd.gz,403,no)@2
n2 - @ 30 | PX@0 S@0 K@1 http(/assets/lab/initrd.gz,404)@2 PX@8 S@9
download-cut @ 5 | PX@0 S@0 cut(/assets/lab/vmlinuz)@2
n2 download-cut @ 9 | PX@0 S@0 K@1 load(/assets/lab/initrd.gz)@2 over(/assets/lab/initrd.gz)@6 cut(/assets/lab/initrd.gz)@6
n2 download-cut @ 12 | PX@0 S@0 K@1 cut(/assets/lab/initrd.gz)@2 PX@8 S2@9
n2 - @ 5 | PX@0 S@0 cut(/assets/lab/vmlinuz)@2 load(/assets/lab/vmlinuz)@4
~file-refused @ 20 | PX@0 S@0 K@1 N@2 http(/assets/lab/rootfs.img,404)@12
n2 file-refused @ 70 | PX@0 S@0 K@1 N@2 http(/assets/lab/rootfs.img,404)@7
n2 ~file-refused @ 20 | PX@0 S@0 K@1 N@2 os@8 G@9 http(/assets/lab/app.raw,404)@12
n2 - @ 60 | PX@0 S@0 K@1 N@2 os@8 G@9 http(/assets/lab/app.raw,404)@12 F@30
n4 kernel-not-loaded @ 9 | PX@0 S@0 PX@6 S2@7
n4 kernel-not-loaded @ 30 | PX@0 S@0 PX@6 S2@7 PX@13 S2@14
kernel-not-loaded @ 9 | PX@0 S@0 PX@6 S2@7
n5 kernel-not-loaded @ 9 | PX@0 S@0 PX@6 S2@7
n2 - @ 50 | PX@0 S@0 d@6 o@6 r@6 a@6 S2@7 K@8 N@9 os@14 G@15
n4 - @ 10 | PX@0 http(/ipxe,503,busy)@0 PX@6 S2@7
n4 ~kernel-elsewhere @ 125 | PX@0 S@0
n4 ~kernel-elsewhere? @ 60 | PX@0 S@0
n4 -? @ 40 | PX@0 S@0
n4 kernel-elsewhere @ 700 | PX@0 S@0
n4 ~kernel-elsewhere @ 500 | FW@0 B@2 PX@9 S@9
n4 - @ 115 | PX@0 S@0
kernel-not-asked @ 35 | PX@0 S@0
n2 kernel-not-asked @ 60 | FW@0 B@2 PX@9 S@9
n3 kernel-not-asked @ 35 | PX@0 S@0
n2 - @ 55 | PX@0 S@0 load(/assets/lab/vmlinuz)@1
n2 ~slow-download @ 70 | PX@0 S@0 load(/assets/lab/vmlinuz)@1
n2 ~slow-download @ 300 | PX@0 S@0 K@1 load(/assets/lab/initrd.gz)@2
~slow-download @ 70 | PX@0 S@0 K@1 N@2 load(/assets/lab/rootfs.img)@8
initrd-not-asked @ 35 | PX@0 S@0 K@1
n2 initrd-not-asked @ 60 | FW@0 B@2 PX@9 S@9 K@10
n2 initrd-not-asked @ 99 | PX@0 S@0 load(/assets/lab/vmlinuz)@1 over(/assets/lab/vmlinuz)@50 K@50
initrd-not-loaded @ 12 | PX@0 S@0 K@1 PX@8 S2@9
n2 initrd-not-loaded @ 22 | PX@0 S@0 K@1 PX@8 S2@9 K@10 PX@16 S2@17
n2 initrd-not-loaded @ 12 | PX@0 S@0 K@1 S2@9
n2 - @ 15 | PX@0 S@0 K@1 PX@8 S@9
boot-refused @ 12 | PX@0 S@0 K@1 N@2 PX@8 S2@9
n2 boot-refused @ 12 | PX@0 S@0 K@1 N@2 S2@9
n3 boot-refused @ 12 | PX@0 S@0 K@1 PX@8 S2@9
n2 - @ 15 | PX@0 S@0 PX@6 S2@7 K@8 N@9
ignition-refused @ 12 | PX@0 S@0 K@1 N@2 os@8 http(/ignition,404,the_token_is_of_another_boot)@9
n2 ignition-refused @ 30 | PX@0 S@0 K@1 N@2 http(/ignition,404)@9 http(/ignition,404)@19
n4 ignition-refused @ 30 | PX@0 S@0 http(/ignition,404,no_lease_of_node4)@20
n2 - @ 30 | PX@0 S@0 K@1 N@2 os@8 http(/ignition,404)@9 G@12
~ignition-not-asked @ 70 | PX@0 S@0 K@1 N@2 os@8
n2 ignition-not-asked @ 190 | PX@0 S@0 K@1 N@2 os@8
n2 ~ignition-not-asked @ 68 | FW@0 B@1 PX@7 S@7 K@7 N@7 os@15
~initramfs-no-network @ 65 | PX@0 S@0 K@1 N@2
n2 initramfs-no-network @ 190 | PX@0 S@0 K@1 N@2
n2 ~initramfs-no-network @ 80 | FW@0 B@1 PX@7 S@7 K@8 N@9
n3 - @ 190 | PX@0 S@0 K@1
n2 ~no-call-home @ 130 | PX@0 S@0 K@1 N@2 os@7 G@8
n2 no-call-home @ 700 | PX@0 S@0 K@1 N@2 os@7 G@8
~no-call-home @ 400 | PX@0 S@0 K@1 N@2 os@7 G@8
- @ 290 | PX@0 S@0 K@1 N@2 os@7 G@8
~install-unfinished @ 950 | PX@0 S@0 K@1 N@2 os@7 G@8 report(installing)@20
install-unfinished @ 1900 | PX@0 S@0 K@1 N@2 os@7 G@8 report(installing)@20
~install-unfinished @ 1200 | FW@0 B@1 PX@7 S@7 K@8 N@9 os@14 G@15 report(installing)@30 report(installing)@90
reported-failure @ 31 | PX@0 S@0 K@1 N@2 os@7 G@8 report(failed,no_disk)@30
n2 reported-failure @ 60 | PX@0 S@0 K@1 N@2 os@7 G@8 report(error)@30
n2 reported-failure @ 60 | PX@0 S@0 K@1 N@2 os@7 G@8 report(installing)@20 report(Failed)@30
- @ 60 | PX@0 S@0 K@1 N@2 os@7 G@8 report(failed)@20 report(installing)@30
report-refused @ 31 | PX@0 S@0 K@1 N@2 os@7 G@8 http(/v1/report,403,the_token_is_of_another_boot)@30
n2 report-refused @ 60 | PX@0 S@0 K@1 N@2 G@8 http(/v1/report,400)@20 http(/v1/report,400)@30
n2 report-refused @ 60 | PX@0 S@0 K@1 N@2 G@8 report(installing)@10 http(/v1/report,403,no)@20
n2 - @ 60 | PX@0 S@0 K@1 N@2 G@8 http(/v1/report,503,later)@10 F@12
boot-loop @ 250 | FW@0 B@2 FW@100 B@102 FW@200 B@202
n2 boot-loop @ 999 | FW@0 B@2 FW@100 B@102 FW@200 B@202 alone@300
n2 boot-loop @ 202 | FW@0 B@2 B@3 FW@100 B@102 B@103 FW@200 B@201
n2 - @ 250 | FW@0 B@2 FW@100 B@102 PX@109 FW@200 B@202
install-loop @ 410 | PX@0 S@0 K@1 PX@200 S@200 K@201 PX@400 hold-screen@400
install-loop @ 900 | PX@0 S@0 PX@200 S@200 PX@400 hold-screen@400 PX@800 hold-screen@800
install-loop @ 405 | FW@0 B@1 PX@5 S@5 FW@100 B@101 PX@105 S@105 FW@200 B@201 PX@205 hold-screen@205 FW@400
held @ 5 | hold@0
n2 held @ 50 | PX@0 S@0 K@1 hold@40
n2 held @ 99 | hold@0 FW@10 B@12 PX@20 hold-screen@20
n2 - @ 99 | hold@0 release@5 FW@10 B@12 PX@20 S@20 K@21 N@22 G@40 F@60
disk-does-not-boot @ 190 | installed@0 alone@1 alone@62 alone@130
n6 disk-does-not-boot @ 190 | alone@1 alone@62 alone@130
n6 disk-does-not-boot @ 205 | alone@1 alone@62 alone@130 FW@200
n6 - @ 190 | alone@1 alone@62 F@100 alone@130
n6 - @ 900 | alone@1 alone@300 alone@899
n2 overdue @ 1900 | PX@0 S@0 K@1 N@2 os@7 G@8 report(started)@20
n2 overdue @ 5000 | PX@0 S@0 K@1 N@2 G@8 report(started)@20 report(mounting)@40
n2 overdue @ 2000 | FW@0 B@1 PX@9 S@9 K@10 N@11 G@20 report(started)@30
n2 - @ 1700 | PX@0 S@0 K@1 N@2 os@7 G@8 report(started)@20
n2 - @ 1000 | 3:FW@0 3:B@2
n2 ipxe-silent @ 70 | FW@0 B@2 3:FW@1 3:B@3 3:PX@9 3:S@9 3:K@10
n3 - @ 70 | 2:FW@0 2:B@2 FW@1 B@3 PX@9 S@9 K@10
n2 kernel-refused @ 30 | PX@0 S@0 3:PX@0 3:S@0 http(/assets/lab/vmlinuz,404)@1 3:K@2
n3 - @ 30 | 2:PX@0 2:S@0 PX@0 S@0 2:http(/assets/lab/vmlinuz,404)@1 K@2
"""
