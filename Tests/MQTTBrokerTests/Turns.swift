import MQTTBroker

/// What tests of a turn's length have in common.
extension Limits {
  /// Room for thousands of everything that is looked at one by one.
  static func ofTurns(_ change: (inout Limits) -> Void = { _ in }) -> Limits {
    var limits = Limits()
    limits.retainedMax = 30_100
    limits.messagesMax = 40_000
    limits.topicNodesMax = 65_535
    limits.blockCount = 65_536
    limits.sessionsMax = 5000
    limits.connectionsMax = 200
    limits.pendingConnectionsMax = 200
    limits.subscriptionsMax = 20_000
    limits.deliveriesMax = 20_000
    limits.outboxChunksShared = 20_000
    limits.sysIntervalSeconds = 3600
    change(&limits)
    return limits
  }
}

extension World {
  static var topicOfAll: String { Array(repeating: "a", count: 9).joined(separator: "/") }

  /// 512 filters that overlap: each of them matches `topicOfAll`.
  func subscribeToAll(_ name: String) {
    let filters = (0..<512).map { number in
      Filter((0..<9).map { number >> $0 & 1 == 0 ? "a" : "+" }.joined(separator: "/"))
    }
    send(name, .subscribe(1, filters))
    _ = takeAll(name)
  }
}
