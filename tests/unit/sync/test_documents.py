"""What the documents of machines tell about themselves, and what a request can put into them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from appliance.matchbox.ignition_merge import PLACEHOLDER
from appliance.sync.documents import document_notes, machine_document
from tests.unit.daemon.rooms import WORKER, rack, served

PLAIN = b'{"ignition":{"version":"3.3.0"}}'
MERGES = b'{"ignition":{"version":"3.3.0","config":{"merge":[{"source":"http://a/b"}]}}}'
REPLACES = b'{"ignition":{"version":"3.3.0","config":{"replace":{"source":"http://a/b"}}}}'
NOTHING = b'{"ignition":{"version":"3.3.0","config":{"replace":{"verification":{}}}}}'


def notes(content: bytes) -> list[str]:
    profile = replace(WORKER, ignition="w.ign")
    now = served()
    inventory = replace(now.inventory, profiles={profile.name: profile})
    return document_notes(now.settings, inventory, {"w.ign": content})


@pytest.mark.parametrize("content", [PLAIN, MERGES, NOTHING])
def test_a_document_that_keeps_what_is_added_needs_no_word(content: bytes) -> None:
    assert notes(content) == []


def test_a_document_that_replaces_itself_is_told_with_its_machines() -> None:
    (note,) = notes(REPLACES)
    assert "ignition.config.replace" in note
    assert "node1" in note


@pytest.mark.parametrize("token", ['"},{"path":"/etc/shadow"', "a b", "\udcff", "", "x" * 200, "é"])
def test_what_is_no_token_gets_into_no_document(token: str) -> None:
    """With `ignition = "open"` anybody writes into the request what they like."""
    document = machine_document(served().settings, rack()[0], replace(WORKER, ignition="w.ign"), PLAIN)
    given = document.for_boot(token)
    assert given == document.for_boot("none")
    assert PLACEHOLDER.encode() not in given
    json.loads(given)
    assert b"TOKEN%3Dabc-_9" in document.for_boot("abc-_9")
