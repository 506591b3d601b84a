import Testing

/// Days of a board that keep to the model.
@Suite(.serialized) struct SimulationTests {
  @Test func everySeedHolds() {
    var totals = (messages: 0, changes: 0, refusals: 0, lives: 0)
    SimulationRun("Gateway", steps: 400).play(Simulation.self) { simulation in
      totals.messages += simulation.messageCount
      totals.changes += simulation.changeCount
      totals.refusals += simulation.refusalCount
      totals.lives += simulation.lifeCount
    } totals: {
      [
        "\(totals.lives) lives of a board, \(totals.messages) messages, \(totals.changes) movements, "
          + "\(totals.refusals) refusals"
      ]
    }
  }
}
