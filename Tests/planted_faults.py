"""The faults that `Tests/planted` plants: what stands in a file, and what a mistaken programmer might have written there
instead."""

from typing import NamedTuple


class Fault(NamedTuple):
    id: str
    file: str  # in Sources; its first folder is the module
    right: str  # occurs once in the file
    wrong: str
    what: str

    @property
    def module(self):
        return self.file.split("/")[0]


# By module, as the module is built anew for each row.
FAULTS = [
    Fault(
        "wheel-early",
        "Bounded/Time/TimerWheel.swift",
        "let limit = instant.nanoseconds / 1_000_000  // a tick counts once it is over",
        "let limit = instant.millisecondsRoundedUp  // a tick counts once it is over",
        "off by one: a timer fires up to a millisecond too early",
    ),
    Fault(
        "blocks-lowest",
        "Bounded/Memory/BlockPool.swift",
        "    if word < lowest { lowest = word }\n",
        "",
        "leak: blocks that are given back are not looked for again",
    ),
    Fault(
        "queue-holders",
        "Bounded/Memory/ByteQueuePool.swift",
        "openHeld -= max(0, ByteQueuePool.ordinaryCount(queue) - floor)",
        "openHeld -= max(0, ByteQueuePool.ordinaryCount(queue) - floor - 1)",
        "off by one: a chunk of a cleared queue still counts as held",
    ),
    Fault(
        "sources-oldest",
        "Bounded/Tables/SourceTable.swift",
        "entries[place].fullAt < entries[oldest!].fullAt",
        "entries[place].fullAt > entries[oldest!].fullAt",
        "swapped comparison: the most active address is forgotten first",
    ),
    Fault(
        "packet-max",
        "MQTTWire/Packets/FixedHeader.swift",
        "guard index &+ length <= packetBytesMax else",
        "guard index &+ length < packetBytesMax else",
        "off by one: a packet of exactly the maximum size is refused",
    ),
    Fault(
        "framer-held",
        "MQTTWire/Framing/PacketFramer.swift",
        "        held = 0\n        heldCount = 0\n",
        "        heldCount = 0\n",
        "forgotten reset: bytes of one header get into the next",
    ),
    Fault(
        "property-twice",
        "MQTTWire/Fields/Properties.swift",
        "seen = seen.with(property.id)",
        "seen = PropertySet(property.id)",
        "only the property just before is remembered as seen",
    ),
    Fault(
        "parent-level",
        "MQTTWire/Fields/Topic.swift",
        "return index == name.count && byte == slash && at",
        "return byte == slash && at",
        "a/# matches names that only begin like its parent",
    ),
    Fault(
        "will-delay-forwarded",
        "MQTTWire/Fields/PropertyID.swift",
        "PropertySet.all.without(.messageExpiryInterval).without(.topicAlias).without(.subscriptionIdentifier)\n"
        "      .without(.willDelayInterval)",
        "PropertySet.all.without(.messageExpiryInterval).without(.topicAlias).without(.subscriptionIdentifier)",
        "the Will Delay Interval goes on to the receivers",
    ),
    Fault(
        "ack-state",
        "MQTTBroker/Routing/BrokerPublish.swift",
        "guard let delivery = deliveries.find(packetID, of: session, sessions), deliveries[delivery].state == state else {",
        "guard let delivery = deliveries.find(packetID, of: session, sessions) else {",
        "wrong state transition: PUBACK and PUBCOMP end every delivery",
    ),
    Fault(
        "recent-matches",
        "MQTTBroker/Routing/TopicTree.swift",
        "    nodes[parent].childWord += wordInParent(handle)\n    recent.forget()\n",
        "    nodes[parent].childWord += wordInParent(handle)\n",
        "stale cache: a new filter does not get topics that matched before",
    ),
    Fault(
        "recent-hung",
        "MQTTBroker/Routing/TopicTree.swift",
        "{ if !nodes[node].isHung { recent.forget() } }",
        "{}",
        "stale cache: a filter whose level was there for a deeper one does not get topics that matched before",
    ),
    Fault(
        "redelivery-window",
        "MQTTBroker/Delivery/DeliveryStore.swift",
        "      deliveries[delivery].isSentHere = false\n",
        "",
        "forgotten reset: what an old connection sent fills the window",
    ),
    Fault(
        "retained-newest",
        "MQTTBroker/Delivery/BrokerReplay.swift",
        "guard !slot.isNull, retained[slot].age <= subscriptions[subscription].replayAge else",
        "guard !slot.isNull, retained[slot].age < subscriptions[subscription].replayAge else",
        "off by one: the newest retained message is not replayed",
    ),
    Fault(
        "packet-id-zero",
        "MQTTBroker/Delivery/DeliveryStore.swift",
        "    outgoing.lastPacketID = outgoing.lastPacketID % 65_535 + 1\n    return",
        "    outgoing.lastPacketID = outgoing.lastPacketID &+ 1\n    return",
        "after packet id 65535 comes 0",
    ),
    Fault(
        "group-name",
        "MQTTBroker/Routing/SubscriptionStore.swift",
        "    groupNames.release(groups[group].name)\n",
        "",
        "leak: the name of a shared group is not given back",
    ),
    Fault(
        "starved",
        "MQTTBroker/Connection/Outboxes.swift",
        "    if outbox.isEmpty { starved.push(id.index) }\n",
        "",
        "lost wake-up: who found no room with an empty outbox is forgotten",
    ),
    Fault(
        "group-turn",
        "MQTTBroker/Routing/SubscriptionStore.swift",
        "groups[group].turn = subscriptions[subscription].nextInNode",
        "groups[group].turn = subscription",
        "wrong order: one member of a shared group gets everything",
    ),
    Fault(
        "retained-bound",
        "MQTTBroker/Messages/RetainedStore.swift",
        "    return count <= old\n",
        "    return false\n",
        "missing case: clients may not replace theirs when the board has more than its part",
    ),
    Fault(
        "floors",
        "MQTTBroker/Session/Shares.swift",
        "max(0, kept(pool) + returned - ofFloor)",
        "0 * (kept(pool) + returned - ofFloor)",
        "missing bound: one client takes what others are sure of",
    ),
    Fault(
        "will-room",
        "MQTTBroker/Session/BrokerWill.swift",
        "        for: message, keepingFree: keepingFree, keepingMessages: keepingMessages, sparesShares: !isSmall, at: now)\n",
        "        for: message, keepingFree: keepingFree, keepingMessages: 2 * limits.messagesMax, at: now)\n",
        "unfair: a client is refused for its Will while others hold what can give way",
    ),
    Fault(
        "will-kept",
        "MQTTBroker/Routing/BrokerAccepted.swift",
        "        mayKeep = false\n",
        "        mayKeep = false\n        messages.release(reserved.stored)\n        return\n",
        "lost message: a Will that cannot be retained is not sent either",
    ),
    Fault(
        "common-levels",
        "MQTTBroker/Routing/TopicTreeShares.swift",
        "      guard countCommon(node, 1) == 1 else { return }\n",
        "      guard countCommon(node, 1) == 2 else { return }\n",
        "wrong count: levels that many use in common are not counted",
    ),
    Fault(
        "outbox-floor",
        "MQTTBroker/Connection/BrokerInput.swift",
        "      if header.type == .publish, outboxesFill { return stop(.outboxesFill, at: now) }\n",
        "",
        "unfair: who reads loses what came at once, for readers that are stuck",
    ),
    Fault(
        "replay-room",
        "MQTTBroker/Delivery/BrokerReplay.swift",
        "      if !deliveries.hasRoom { makeRoom(forDeliveries: 1, identifierCells: 0, at: now) }\n",
        "",
        "starvation: a new subscription waits for the deliveries of those who are away",
    ),
    Fault(
        "mask-key",
        "Layers/WebSocket/WebSocketFramer.swift",
        "part.count & 3) &* 8",
        "part.count & 1) &* 8",
        "wrong state: the mask of a payload in parts is turned by one byte at most",
    ),
    Fault(
        "continued-message",
        "Layers/WebSocket/WebSocketFramer.swift",
        "case .binary: return isInMessage ? .protocolError : nil",
        "case .binary: return nil",
        "missing check: a message may begin inside another one",
    ),
    Fault(
        "version-last",
        "Layers/Upgrade/UpgradeHead.swift",
        "hasVersion13 = !hasVersion && value == Bytes(\"13\")",
        "hasVersion13 = value == Bytes(\"13\")",
        "missing check: of two WebSocket versions the last one counts",
    ),
    Fault(
        "debounce-reset",
        "Taps/Inputs/InputDebounce.swift",
        "    self.level = level\n    deadline = .never\n",
        "    self.level = level\n",
        "forgotten reset: the time of a bounce runs on after a fault",
    ),
    Fault(
        "edge-numbers",
        "Taps/Counters/CounterTap.swift",
        "    numbers.restart()\n",
        "",
        "forgotten reset: edge numbers go on after a new request",
    ),
    Fault(
        "rate-window",
        "Taps/Counters/CounterTap.swift",
        "    first = last\n    count = 0\n",
        "    first = nil\n    count = 0\n",
        "lost edge: the last pulse of a window does not begin the next",
    ),
    Fault(
        "dead-time",
        "Taps/Outputs/OutputTable.swift",
        "startAt = max(startAt, outputs[rival].changedAt.adding(nanoseconds: group.deadTimeNanoseconds))",
        "startAt = max(now, outputs[rival].changedAt.adding(nanoseconds: group.deadTimeNanoseconds))",
        "of several rivals the last one in the table decides the dead time",
    ),
    Fault(
        "on-time",
        "Taps/Outputs/OutputTap.swift",
        "onNanoseconds &+= max(now.since(onSince), 0).magnitude",
        "onNanoseconds &+= max(onSince.since(now), 0).magnitude",
        "wrong sign: the time that an output was on is not added up",
    ),
    Fault(
        "lease-and-timer",
        "Taps/Outputs/OutputTap.swift",
        "      if restActive != lease.isActiveWhenLost { restAt = .never }\n",
        "",
        "a timed set brings back what a lost client's lease has ended",
    ),
    Fault(
        "rule-deadline",
        "Taps/Rules/RuleTable.swift",
        "      nextDeadline = min(nextDeadline, rules[index].deadline)\n    }\n",
        "    }\n",
        "lost wake-up: of two rules that wait only the first fires",
    ),
    Fault(
        "untold-state",
        "Taps/UntoldTaps.swift",
        "    if !waiting.contains(place) {\n"
        "      entries[place] = Entry(hasState: false, hasFault: false, wallNanoseconds: 0, byByteCount: 0)\n"
        "    }\n",
        "    entries[place] = Entry(hasState: false, hasFault: false, wallNanoseconds: 0, byByteCount: 0)\n",
        "lost message: a fault hides the state before it, not told yet",
    ),
    Fault(
        "lane-full",
        "LinuxIO/Lanes/Mailbox.swift",
        "underway < capacity ?",
        "underway <= capacity ?",
        "off by one: a full queue overwrites the message being handled",
    ),
    Fault(
        "log-repeats",
        "LinuxIO/Log/LogGate.swift",
        "    let count = repeats\n    repeats = 0\n",
        "    let count = repeats\n",
        "forgotten reset: repeats of a line are told again and again",
    ),
    Fault(
        "file-left-over",
        "LinuxIO/Files/FileReplacement.swift",
        "        if renamed < 0 { _ = clinux_unlink(new) }\n",
        "",
        "leak: a write that failed leaves its new file behind",
    ),
    Fault(
        "duration-minutes",
        "TaplineConfiguration/Document/Values.swift",
        "return number.times(60_000) }",
        "return number.times(60) }",
        "wrong factor: minutes are seconds",
    ),
    Fault(
        "limits-follow",
        "TaplineConfiguration/Readers/LimitReader.swift",
        "    guard section.errors.count == errorCount else { return }\n",
        "    guard section.errors.count >= errorCount else { return }\n",
        "missing case: limits follow one whose value was refused",
    ),
    Fault(
        "limits-place",
        "TaplineConfiguration/Readers/LimitReader.swift",
        "section.errors.add(entry.place, problem.text)",
        "section.errors.add(min(section.place, entry.place), problem.text)",
        "lost place: a limit that does not go with others is not told where it stands",
    ),
    Fault(
        "base64-rest",
        "TaplineConfiguration/Users/Base64.swift",
        "    guard bits == 0 else { return .malformed }\n",
        "",
        "missing check: bits behind the last byte of a hash may be anything",
    ),
    Fault(
        "password-decoy",
        "TaplineConfiguration/Users/PasswordTable.swift",
        "user.entry.costsMore(than: rows[$0].entry) } ?? true",
        "user.entry.costsMore(than: rows[$0].entry) } ?? false",
        "timing: an unknown user takes less time than a known one",
    ),
    Fault(
        "stop-level",
        "Gateway/Commands.swift",
        "return isStopping ? stopping : commandReceived(level: index, message)",
        "return commandReceived(level: index, message)",
        "while the server stops, commands to an LED are carried out",
    ),
    Fault(
        "stop-rule",
        "Gateway/GatewayRules.swift",
        "      if isStopping { continue }  // it fired before the end began\n",
        "",
        "rules that fired before the end began are carried out after it",
    ),
    Fault(
        "stop-saved",
        "Tapline/Server/ServerStop.swift",
        "    composeLastState(at: moment)\n    isStopping = true\n    gateway.leave(at: now)",
        "    isStopping = true\n    gateway.leave(at: now)\n    composeLastState(at: moment)",
        "wrong order: safe levels are saved in place of the commanded ones",
    ),
    Fault(
        "phases",
        "Gateway/Commands.swift",
        "guard addTap(rules.filter(of: rules.count - 1 - index), .follow) else",
        "guard addTap(rules.filter(of: rules.count - 1 - index), .command) else",
        "wrong order: a rule acts on a command that is refused after it",
    ),
    Fault(
        "stash-room",
        "Gateway/PublicationStash.swift",
        "      taken = 0\n      byteCount = 0\n",
        "      taken = 0\n",
        "leak: the room for what handlers publish is not given back",
    ),
]
