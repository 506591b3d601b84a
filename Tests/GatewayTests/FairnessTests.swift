import Testing

extension SimulationTests {
  /// Days of clients that keep within their share, beside others that do not.
  @Test func fairnessHolds() {
    var totals = (promises: 0, losses: 0, commands: 0, movements: 0)
    var givenWay: UInt64 = 0
    var longestWait: Int64 = 0
    SimulationRun("Gateway", filter: "fairnessHolds", seeds: 4, steps: 150).play(FairnessDay.self) { day in
      totals.promises += day.promiseCount
      totals.losses += day.lossCount
      totals.commands += day.commandCount
      totals.movements += day.movementCount
      givenWay += day.givenWay
      longestWait = max(longestWait, day.longestWait)
    } totals: {
      [
        "fairness: \(totals.promises) messages to residents, \(totals.losses) of them lost and counted, "
          + "\(totals.commands) commands, \(totals.movements) movements, \(givenWay) messages gave way, "
          + "\(longestWait) s the longest wait for readers that were stuck"
      ]
    }
  }
}
