@testable import MQTTBroker

extension Limits {
  /// The defaults, a tenth as large where it only costs the tests time.
  static var forTests: Limits {
    var limits = Limits()
    limits.connectionsMax = 16
    limits.pendingConnectionsMax = 8
    limits.sessionsMax = 24
    limits.topicNodesMax = 512
    limits.subscriptionsMax = 192
    limits.messagesMax = 512
    limits.blockBytes = 256
    limits.blockCount = 2048
    limits.retainedMax = 128
    limits.deliveriesMax = 512
    limits.inflightMax = 16
    return limits
  }
}
