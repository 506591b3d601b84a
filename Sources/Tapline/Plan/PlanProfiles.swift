import Bounded
import MQTTBroker
import TaplineConfiguration

/// A profile of limits beside the others: what a configuration would have with it, and take.
public struct PlanProfile {
  /// Nil: the limits that the file has, which differ from its profile's.
  let profile: Limits.Profile?
  let isUsed: Bool
  let limits: Limits
  let byteCount: Int

  /// With the taps of this configuration.
  static func list(_ configuration: Configuration) -> [PlanProfile] {
    var list: [PlanProfile] = []
    for profile in Limits.Profile.all {
      var other = configuration
      other.limits = Limits(profile)
      // Nothing is named, so that nothing can be wrong with it.
      _ = other.limits.follow(other.limits, needs: configuration.limitNeeds) { _ in false }
      list.append(
        PlanProfile(
          profile: profile, isUsed: profile == configuration.limitProfile, limits: other.limits,
          byteCount: Server.reserved(other).byteCount))
    }
    if configuration.isLimitProfileChanged {
      list.append(
        PlanProfile(
          profile: nil, isUsed: false, limits: configuration.limits, byteCount: Server.reserved(configuration).byteCount
        ))
    }
    return list
  }

  var totalBytes: Int { byteCount + Server.kernelSocketBytes(limits) }
}

extension Plan {
  func addProfiles(to text: inout Text) {
    guard !profiles.isEmpty else { return }
    text.endLine()
    text.add("PROFILE", width: 11)
    text.add("CONNECTIONS   SESSIONS  RETAINED  PACKET_BYTES    RESERVED  WITH SOCKETS\n")
    for row in profiles {
      var name = Text(row.profile?.name ?? "this file")
      if row.isUsed { name.add(" *") }
      text.add(name.bytes, width: 11)
      text.add(row.limits.connectionsMax, width: 11)
      text.add(row.limits.sessionsMax, width: 11)
      text.add(row.limits.retainedMax, width: 10)
      text.add(row.limits.packetBytesMax, width: 14)
      text.add(row.byteCount, width: 12)
      text.add(row.totalBytes, width: 14)
      text.endLine()
    }
    text.add("* this file's, under limits: profile\n")
  }

  func addProfiles(json text: inout Text) {
    text.add(",\"profiles\":[")
    var isFirst = true
    for row in profiles {
      guard let profile = row.profile else { continue }
      text.add(isFirst ? "{\"name\":\"" : ",{\"name\":\"")
      isFirst = false
      text.add(profile.name)
      text.add(row.isUsed ? "\",\"used\":true" : "\",\"used\":false")
      text.add(",\"connections\":")
      text.add(row.limits.connectionsMax)
      text.add(",\"sessions\":")
      text.add(row.limits.sessionsMax)
      text.add(",\"retained\":")
      text.add(row.limits.retainedMax)
      text.add(",\"packet_bytes\":")
      text.add(row.limits.packetBytesMax)
      text.add(",\"reserved_bytes\":")
      text.add(row.byteCount)
      text.add(",\"with_sockets_bytes\":")
      text.add(row.totalBytes)
      text.add("}")
    }
    text.add("]")
  }
}
