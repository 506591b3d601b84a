import Bounded

/// What is said of one component: Home Assistant's names, in full.
extension Discovery {
  func writeMembers(_ component: DiscoveryComponent, into writer: inout ByteWriter) {
    var members = MemberWriter(keys: component.keys, writer: writer)
    members.add("unique_id") { writer in
      writer.write(discovery.id)
      writer.write("_")
      writeID(component, into: &writer)
    }
    members.add("default_entity_id") { writer in
      writer.write(component.platform.text)
      writer.write(".")
      writer.writeSlug(discovery.id)
      writer.write("_")
      writer.writeSlug(component.name)
      writer.write(component.part.suffix)
    }
    members.add("name") { writeName(component, into: &$0) }
    switch component.kind {
    case .output: add(output: component, to: &members)
    case .input: add(input: component, to: &members)
    case .counter: add(counter: component, to: &members)
    case .sensor: add(sensor: component, to: &members)
    case .pwm, .led: add(level: component, to: &members)
    }
    members.addOwn()
    writer = members.writer
  }

  private func add(output component: DiscoveryComponent, to members: inout MemberWriter) {
    if component.platform == .button {
      let pulse = settings.outputs[component.index].pulseNanoseconds
      members.add("command_topic") { write(pulse > 0 ? .pulse : .set, component, into: &$0) }
      members.add("payload_press") { writer in
        if pulse > 0 { writer.writeDecimal(max(pulse / 1_000_000, 1)) } else { writer.write("ON") }
      }
      return
    }
    members.add("state_topic") { write(.state, component, into: &$0) }
    members.add("command_topic") { write(.set, component, into: &$0) }
    // ON opens, as with Home Assistant's own "show as".
    switch component.platform {
    case .valve, .cover:
      members.add("payload_open", "ON")
      members.add("payload_close", "OFF")
      members.add("state_open", "ON")
      members.add("state_closed", "OFF")
      if component.platform == .cover { members.add("payload_stop", json: "null") }
    case .lock:
      members.add("payload_lock", "OFF")
      members.add("payload_unlock", "ON")
      members.add("state_locked", "OFF")
      members.add("state_unlocked", "ON")
    case .siren:
      members.add("command_template", "{{ value }}")
      members.add("support_duration", json: "false")
      members.add("support_volume_set", json: "false")
    case .binarySensor, .button, .event, .fan, .light, .number, .sensor, .switch:
      break  // ON and OFF are what they expect
    }
  }

  private func add(input component: DiscoveryComponent, to members: inout MemberWriter) {
    let input = settings.inputs[component.index]
    guard component.part == .event, let events = input.events else {
      members.add("state_topic") { write(.state, component, into: &$0) }
      return
    }
    members.add("state_topic") { write(.event, component, into: &$0) }
    members.add("device_class", "button")
    members.add("event_types", json: "[\"press_start\",\"press_end\"") { writer in
      if events.longNanoseconds > 0 { writer.write(",\"long_press_start\",\"long_press_end\"") }
      if events.multiNanoseconds > 0 { writer.write(",\"multi_press_ongoing\",\"multi_press_end\"") }
      writer.write("]")
    }
  }

  private func add(counter component: DiscoveryComponent, to members: inout MemberWriter) {
    let counter = settings.counters[component.index]
    if component.part == .rate, let rate = counter.rate {
      members.add("state_topic") { write(.rate, component, into: &$0) }
      members.add("state_class", "measurement")
      addUnit(rate.unit, rate.unit.withUnsafeBytes { DiscoveryUnit.of(rate: Bytes($0)) }, to: &members)
    } else {
      members.add("state_topic") { write(.state, component, into: &$0) }
      members.add("state_class", "total_increasing")
      addUnit(counter.unit, counter.unit.withUnsafeBytes { DiscoveryUnit.of(total: Bytes($0)) }, to: &members)
    }
  }

  private func addUnit(_ unit: [UInt8], _ known: DiscoveryUnit?, to members: inout MemberWriter) {
    if !unit.isEmpty { members.add("unit_of_measurement") { $0.writeJsonPart { $0.write(unit) } } }
    if let known { members.add("device_class", known.deviceClass) }
  }

  private func add(sensor component: DiscoveryComponent, to members: inout MemberWriter) {
    let sensor = settings.sensors[component.index]
    members.add("state_topic") { write(.state, component, into: &$0) }
    let stale = sensor.staleNanosecondsOrUsual
    if stale > 0 {
      members.add("expire_after", json: "") { $0.writeDecimal(min((stale - 1) / 1_000_000_000 + 1, 2_000_000_000)) }
    }
    if sensor.isBinary { return }
    let usual = SensorUnit.of(sensor.source)
    // A scale of the user's own makes another unit of it.
    let isUsual = sensor.scale.map { $0 == usual.scale } ?? true
    let isCounted = isUsual && Bytes(usual.deviceClass) == Bytes("energy")
    members.add("state_class", isCounted ? "total_increasing" : "measurement")
    if isUsual, !usual.isPlain { members.add("unit_of_measurement", usual.unit) }
    if isUsual, !Bytes(usual.deviceClass).isEmpty { members.add("device_class", usual.deviceClass) }
  }

  /// A percentage; a light is told ON and OFF beside it.
  private func add(level component: DiscoveryComponent, to members: inout MemberWriter) {
    members.add("state_topic") { write(.state, component, into: &$0) }
    members.add("command_topic") { write(.set, component, into: &$0) }
    guard component.platform == .light else {
      members.add("min", json: "0")
      members.add("max", json: "100")
      members.add("unit_of_measurement", "%")
      return
    }
    members.add("state_value_template", "{{ 'OFF' if value == '0' else 'ON' }}")
    members.add("brightness_state_topic") { write(.state, component, into: &$0) }
    members.add("brightness_command_topic") { write(.set, component, into: &$0) }
    members.add("brightness_scale", json: "100")
    members.add("on_command_type", "brightness")
  }

  @inline(never) private func write(_ role: TopicRole, _ component: DiscoveryComponent, into writer: inout ByteWriter) {
    let shape = settings.layout.shape(component.kind, role)
    writer.writeJsonPart {
      TopicLayout.write(shape, base: settings.base, name: component.name, number: component.index + 1, into: &$0)
    }
  }
}

/// Members of one component, but those that the user gives.
private struct MemberWriter {
  let keys: DiscoveryKeys?
  var writer: ByteWriter

  /// A string.
  @inline(never) mutating func add(_ key: StaticString, _ value: (inout ByteWriter) -> Void) {
    guard begin(key) else { return }
    writer.write("\"")
    value(&writer)
    writer.write("\"")
  }

  @inline(never) mutating func add(_ key: StaticString, _ value: StaticString) { add(key) { $0.write(value) } }

  /// `json`, and what `more` writes behind it.
  mutating func add(_ key: StaticString, json: StaticString, _ more: (inout ByteWriter) -> Void = { _ in }) {
    guard begin(key) else { return }
    writer.write(json)
    more(&writer)
  }

  mutating func addOwn() {
    guard let keys else { return }
    for member in keys.members {
      writer.separate()
      writer.writeJsonString(member.key)
      writer.write(":")
      writer.write(member.json)
    }
  }

  private mutating func begin(_ key: StaticString) -> Bool {
    if let keys, keys.members.contains(where: { $0.key.withUnsafeBytes { Bytes($0) == Bytes(key) } }) { return false }
    writer.separate()
    writer.write("\"")
    writer.write(key)
    writer.write("\":")
    return true
  }
}
