public import Bounded

/// The topics on which the board speaks.
extension TapTable {
  /// Visits each of them; the bytes are valid as long as the table. A tap's questions and commands are not among them.
  public func visitOwnTopics(_ visit: (Bytes) -> Void) {
    if settings.hasStatus { visit(statusTopic) }
    for index in 0..<outputs.count {
      visit(outputs[index].stateTopic)
      visit(outputs[index].faultTopic)
      if settings.outputs[index].hasStats { visit(outputs[index].statsTopic) }
    }
    for index in 0..<inputs.count {
      visit(inputs[index].stateTopic)
      visit(inputs[index].faultTopic)
      visit(inputs[index].eventTopic)
    }
    for index in 0..<counters.count {
      visit(counters[index].totalTopic)
      visit(counters[index].rateTopic)
      visit(counters[index].faultTopic)
    }
    for index in 0..<sensors.count {
      visit(sensors[index].stateTopic)
      visit(sensors[index].faultTopic)
    }
    for index in 0..<levels.count {
      visit(levels[index].stateTopic)
      visit(levels[index].faultTopic)
    }
  }
}
