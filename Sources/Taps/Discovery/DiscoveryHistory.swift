import Bounded
import MQTTWire

/// What Home Assistant was told before, so that it can be told what is gone: retained messages do not outlive the
/// program, but Home Assistant remembers.
///
/// An entry is one component, as it is stored: `device switch heater tapline-cellar homeassistant`, that is mode,
/// platform, key, id and prefix.
public struct DiscoveryHistory {
  /// To go into the device's own message.
  public private(set) var tombstones: [DiscoveryTombstone] = []
  /// Topics whose message is to be an empty one.
  public private(set) var topics: [[UInt8]] = []
  /// The entries that the two above are of; to be stored with the present ones until Home Assistant has heard of them.
  public private(set) var gone: [[UInt8]] = []
  /// Where Home Assistant says that it has come: `PREFIX/status`, each once.
  public private(set) var statusTopics: [[UInt8]] = []
  public var isEmpty: Bool { gone.isEmpty }

  public init() {}

  /// The bytes that a device's message has room for beside the device.
  public static var tombstoneBytesMax: Int { 2048 }
  /// More entries are forgotten.
  public static var goneMax: Int { 256 }

  /// - Parameters:
  ///   - present: nil when there is no discovery any more.
  ///   - topicBytesMax, topicLevelsMax: of topics; what has more cannot be published, and never was.
  public init(entries: [[UInt8]], present: Discovery?, topicBytesMax: Int, topicLevelsMax: Int) {
    let kept = present?.entries ?? []
    var tombstoneByteCount = 0
    for entry in entries where !kept.contains(entry) && !gone.contains(entry) && gone.count < DiscoveryHistory.goneMax {
      guard let old = Entry(entry) else { continue }
      let (topic, status) = (old.topic, old.prefix + Bytes("/status").array())
      let areTopics = [topic, status].allSatisfy { topic in
        topic.count <= topicBytesMax
          && topic.withUnsafeBytes { Topic.isValidName(Bytes($0)) && Topic.levelCount(Bytes($0)) <= topicLevelsMax }
      }
      guard areTopics else { continue }
      if old.isDevice, let present, present.discovery.mode == .device, present.discovery.id == old.id,
        present.discovery.prefix == old.prefix
      {
        tombstoneByteCount += old.key.count + old.platform.count + 12  // ,"key":{"p":"platform"}
        // The next start has room again.
        if tombstoneByteCount > DiscoveryHistory.tombstoneBytesMax { continue }
        tombstones.append(DiscoveryTombstone(key: old.key, platform: old.platform))
      } else if !topics.contains(topic) {
        topics.append(topic)
      }
      gone.append(entry)
      if !statusTopics.contains(status) { statusTopics.append(status) }
    }
  }

  private struct Entry {
    let isDevice: Bool
    let platform: [UInt8]
    let key: [UInt8]
    let id: [UInt8]
    let prefix: [UInt8]

    /// nil for what is none: a file can have been changed by anybody.
    init?(_ bytes: [UInt8]) {
      let parts = bytes.split(separator: UInt8(ascii: " "), maxSplits: 4, omittingEmptySubsequences: false)
      guard parts.count == 5 else { return nil }
      let mode = [UInt8](parts[0])
      isDevice = mode.count == 6
      guard mode.withUnsafeBytes({ Bytes($0) == Bytes("device") || Bytes($0) == Bytes("component") }) else {
        return nil
      }
      platform = [UInt8](parts[1])
      key = [UInt8](parts[2])
      id = [UInt8](parts[3])
      prefix = [UInt8](parts[4])
      for name in [platform, key, id] {
        guard !name.isEmpty, name.count <= 256, name.allSatisfy({ $0.mayStandInDiscoveryID }) else { return nil }
      }
    }

    /// The topic of the message that announced the entry.
    var topic: [UInt8] {
      Discovery.bytes { writer in
        writer.write(prefix)
        writer.write("/")
        if isDevice { writer.write("device") } else { writer.write(platform) }
        writer.write("/")
        writer.write(id)
        if !isDevice {
          writer.write("/")
          writer.write(key)
        }
        writer.write("/config")
      }
    }
  }
}

extension Discovery {
  /// What is announced, to be compared at the next start.
  public var entries: [[UInt8]] {
    var entries: [[UInt8]] = []
    for component in components {
      entries.append(
        Discovery.bytes { writer in
          writer.write(discovery.mode == .device ? "device " : "component ")
          writer.write(component.platform.text)
          writer.write(" ")
          writeKey(component, into: &writer)
          writer.write(" ")
          writer.write(discovery.id)
          writer.write(" ")
          writer.write(discovery.prefix)
        })
    }
    return entries
  }

  /// The names of two components that are the same in Home Assistant, as `a b` and `a_b` are; nil without such.
  public var clash: [UInt8]? {
    var keys: [[UInt8]] = []
    for component in components {
      let key = Discovery.bytes { writeID(component, into: &$0) }
      if keys.contains(key) { return component.name }
      keys.append(key)
    }
    return nil
  }

  /// Bytes of the longest topic, and of the longest payload with room for tombstones.
  public var byteCounts: (topic: Int, payload: Int) {
    var topicByteCount = 0
    var payloadByteCount = 0
    for message in 0..<messageCount {
      topicByteCount = max(topicByteCount, Discovery.bytes { writeTopic(message: message, into: &$0) }.count)
      payloadByteCount = max(payloadByteCount, Discovery.bytes { writePayload(message: message, into: &$0) }.count)
    }
    let room = discovery.mode == .device ? DiscoveryHistory.tombstoneBytesMax : 0
    return (topicByteCount, payloadByteCount + room)
  }

  /// The bytes that `write` writes, however many they are; at start only.
  @inline(never) static func bytes(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
    var capacity = 1024
    while true {
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
      defer { room.deallocate() }
      var writer = ByteWriter(room)
      write(&writer)
      if !writer.overflowed { return writer.written.array() }
      capacity *= 4
    }
  }
}
