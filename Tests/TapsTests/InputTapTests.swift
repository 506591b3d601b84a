import Bounded
import MQTTWire
import Taps
import Testing

private let start = Instant(nanoseconds: 0)

@Suite struct InputTapTests {
  let inputs = board(inputs: [input("button")]).inputs

  func edge(_ isRising: Bool, _ sequence: UInt32?, at wallNanoseconds: Int64 = 0) -> [String] {
    messages(
      inputs[0].edgeReceived(
        LineEdge(
          at: Moment(at: Instant(nanoseconds: wallNanoseconds), wallNanoseconds: wallNanoseconds), isRising: isRising,
          sequence: sequence)))
  }

  @Test func topics() {
    #expect(inputs[0].stateTopic.text == "home/cellar/button")
    #expect(inputs[0].faultTopic.text == "home/cellar/button/fault")
  }

  @Test func levelAtStartThenEdges() throws {
    #expect(inputs[0].needsResync)
    #expect(messages(inputs[0].lineHealed(active: false, at: start.moment)) == ["home/cellar/button=OFF"])
    #expect(!inputs[0].needsResync)
    let update = inputs[0].edgeReceived(
      LineEdge(at: Moment(at: start, wallNanoseconds: 5_000), isRising: true, sequence: 1))
    #expect(messages(update) == ["home/cellar/button=ON"])
    #expect(try userProperties(try #require(update.state)) == ["ts=1970-01-01T00:00:00.000005Z", "seq=1"])
    #expect(edge(false, 2) == ["home/cellar/button=OFF"])
    #expect(inputs[0].lostCount == 0)
    #expect(!inputs[0].needsResync)
  }

  struct Row: Sendable, CustomTestStringConvertible {
    let what: String
    let edges: [(rising: Bool, sequence: UInt32?)]
    let lost: UInt64
    let needsResync: Bool
    let isActive: Bool
    var testDescription: String { what }
  }

  /// After a level read of OFF, with the count at 0.
  @Test(arguments: [
    Row(what: "in order", edges: [(true, 1), (false, 2), (true, 3)], lost: 0, needsResync: false, isActive: true),
    Row(what: "gap of two", edges: [(true, 1), (false, 4)], lost: 2, needsResync: true, isActive: false),
    Row(what: "gap of one", edges: [(true, 1), (true, 3)], lost: 1, needsResync: true, isActive: true),
    Row(what: "equal edges, no gap", edges: [(true, 1), (true, 2)], lost: 1, needsResync: true, isActive: true),
    Row(what: "gap at the start", edges: [(true, 3)], lost: 2, needsResync: true, isActive: true),
    Row(what: "first edge equals the level read", edges: [(false, 1)], lost: 0, needsResync: false, isActive: false),
    Row(what: "then equal edges", edges: [(false, 1), (false, 2)], lost: 1, needsResync: true, isActive: false),
    Row(
      what: "count goes back", edges: [(true, 1), (false, 2), (true, 1)], lost: 1, needsResync: true, isActive: true),
    Row(what: "count stands still", edges: [(true, 1), (false, 1)], lost: 1, needsResync: true, isActive: false),
    Row(what: "not counted", edges: [(true, nil), (false, nil)], lost: 0, needsResync: true, isActive: false),
    Row(what: "not counted, equal", edges: [(true, nil), (true, nil)], lost: 1, needsResync: true, isActive: true),
    Row(
      what: "largest gap", edges: [(true, 0x7FFF_FFFF)], lost: 0x7FFF_FFFE, needsResync: true, isActive: true),
    Row(what: "beyond it goes back", edges: [(true, 0x8000_0000)], lost: 1, needsResync: true, isActive: true),
  ]) func edges(row: Row) {
    _ = inputs[0].lineHealed(active: false, at: start.moment)
    for each in row.edges { _ = edge(each.rising, each.sequence) }
    #expect(inputs[0].lostCount == row.lost)
    #expect(inputs[0].needsResync == row.needsResync)
    #expect(inputs[0].isActive == row.isActive)
  }

  @Test func countGoesAround() {
    _ = inputs[0].lineHealed(active: false, at: start.moment)
    var rising = true
    for sequence: UInt32 in [0x7FFF_FFFF, 0xFFFF_FFFD] {  // in two steps, neither of which goes back
      _ = edge(rising, sequence)
      rising.toggle()
    }
    let before = inputs[0].lostCount
    for sequence: UInt32 in [0xFFFF_FFFE, 0xFFFF_FFFF, 0, 1] {
      _ = edge(rising, sequence)
      rising.toggle()
    }
    #expect(inputs[0].lostCount == before)
    _ = edge(rising, 0xFFFF_FFFF)  // back
    #expect(inputs[0].lostCount == before + 1)
    rising.toggle()
    _ = edge(rising, 2)  // around, with 0 and 1 missed
    #expect(inputs[0].lostCount == before + 3)
  }

  @Test func lossIsPublishedWithTheNextStateOrTheResync() throws {
    _ = inputs[0].lineHealed(active: false, at: start.moment)
    _ = edge(true, 1)
    #expect(edge(true, 2) == [])  // the level is the same
    let update = inputs[0].levelRead(active: true, at: start.moment)
    #expect(messages(update) == ["home/cellar/button=ON"])
    #expect(try userProperties(try #require(update.state)) == ["ts=1970-01-01T00:00:00.000000Z", "lost=1"])
    #expect(messages(inputs[0].levelRead(active: true, at: start.moment)) == [])
    let next = inputs[0].edgeReceived(LineEdge(at: start.moment, isRising: false, sequence: 5))
    #expect(try userProperties(try #require(next.state)) == ["ts=1970-01-01T00:00:00.000000Z", "seq=5", "lost=3"])
    #expect(messages(inputs[0].levelRead(active: false, at: start.moment)) == [])
  }

  @Test func edgeOlderThanTheLevelReadIsNoLoss() {
    _ = inputs[0].lineHealed(active: false, at: start.moment)
    #expect(edge(true, nil) == ["home/cellar/button=ON"])
    #expect(messages(inputs[0].levelRead(active: false, at: start.moment)) == ["home/cellar/button=OFF"])
    #expect(edge(false, nil) == [])
    #expect(inputs[0].lostCount == 0)
  }

  @Test func faultAndHealing() {
    let gone = StaticString("line GPIO27 is gone")
    _ = inputs[0].lineHealed(active: false, at: start.moment)
    _ = edge(true, 1)
    #expect(messages(inputs[0].lineFailed(Bytes(gone), wallNanoseconds: 0)) == ["home/cellar/button/fault=\(gone)"])
    #expect(messages(inputs[0].lineFailed(Bytes(gone), wallNanoseconds: 0)) == [])
    #expect(inputs[0].isActive == nil)
    #expect(!inputs[0].needsResync)
    #expect(edge(false, 2) == [])  // left over
    #expect(inputs[0].lostCount == 1)
    #expect(inputs[0].state == .faulted)
    // Unchanged, but published again so that the fault's end is seen on the state topic too.
    #expect(
      messages(inputs[0].lineHealed(active: true, at: start.moment))
        == ["home/cellar/button/fault=", "home/cellar/button=ON"])
    #expect(edge(false, 1) == ["home/cellar/button=OFF"])  // counted from 1 again
    #expect(inputs[0].lostCount == 1)
  }

  /// A line that wobbles, a kernel that drops the oldest edges of a queue of 4, a reader that now and then reads
  /// the level: what is published ends at the line's level, and every dropped edge is counted.
  @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64]) func stateFollowsTheLine(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let inputs = board(inputs: [input("button")]).inputs
    var level = random.oneIn(2)
    var sequence = UInt32(0)
    var queue: [(rising: Bool, sequence: UInt32)] = []
    var dropped: UInt64 = 0
    var published: Bool?

    func note(_ update: TapUpdate) {
      guard let state = update.state else { return }
      check(published != (state.payload.text == "ON") || state.lostCount > 0)
      published = state.payload.text == "ON"
    }
    note(inputs[0].lineHealed(active: level, at: start.moment))
    for _ in 0..<2_000 {
      for _ in 0..<random.below(7) {
        level.toggle()
        sequence &+= 1
        queue.append((level, sequence))
        if queue.count > 4 {
          queue.removeFirst()
          dropped += 1
        }
      }
      let taken = random.below(queue.count + 1)
      for each in queue.prefix(taken) {
        note(
          inputs[0].edgeReceived(
            LineEdge(at: start.moment, isRising: each.rising, sequence: each.sequence)))
      }
      queue.removeFirst(taken)
      if inputs[0].needsResync || queue.isEmpty && random.oneIn(9) {
        note(inputs[0].levelRead(active: level, at: start.moment))
      }
      if queue.isEmpty {
        check(inputs[0].isActive == level, "seed \(seed)")
        check(published == level, "seed \(seed)")
        check(inputs[0].lostCount == dropped, "seed \(seed): \(inputs[0].lostCount), dropped \(dropped)")
      }
    }
  }
}
