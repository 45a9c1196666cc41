"""dnsmasq: its configuration, its log, its life as our child."""
