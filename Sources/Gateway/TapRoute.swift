import MQTTBroker

/// What a tap of the broker is for.
enum TapRoute: BitwiseCopyable {
  /// A command topic of an output, by its place (`TapTable.outputTopic`).
  case output(Int)
  case counter(Int)
  case level(Int)
  /// A question for what a line has.
  case question
  case rule(Int)
  case handler(Int)
  /// Home Assistant's birth message.
  case homeAssistant
}

/// The broker numbers its taps in the order in which they are added, and the gateway adds them in this order.
///
/// Invariant: each count is of taps that are in the broker; a kind is added to after all before it are complete.
struct TapRoutes: BitwiseCopyable {
  var outputCount = 0
  var counterCount = 0
  var levelCount = 0
  var questionCount = 0
  var ruleCount = 0
  var handlerCount = 0

  subscript(tap: TapID) -> TapRoute {
    var index = tap.index
    if index < outputCount { return .output(index) }
    index -= outputCount
    if index < counterCount { return .counter(index) }
    index -= counterCount
    if index < levelCount { return .level(index) }
    index -= levelCount
    if index < questionCount { return .question }
    index -= questionCount
    // Backwards: of the taps of one filter the last one added runs first, and rules are to run in the file's order.
    if index < ruleCount { return .rule(ruleCount - 1 - index) }
    index -= ruleCount
    if index < handlerCount { return .handler(index) }
    return .homeAssistant
  }
}
