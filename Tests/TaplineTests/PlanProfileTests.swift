import Bounded
import MQTTBroker
import TaplineConfiguration
import Testing

@testable import Tapline

@Suite("Profiles of limits in the plan, and limits for a budget")
struct PlanProfileTests {
  private static var taps: String {
    "taps:\n  outputs:\n" + (0..<100).map { "    r\($0): {pin: {chip: c, line: \($0)}, stats: true}\n" }.joined()
  }

  /// docs/limits.md: what a board by itself takes at most.
  @Test func theSmallestProfileTakesLittle() throws {
    #expect(try Server.plan(readConfiguration("")).byteCount <= 14 * (1 << 20) / 10)
  }

  @Test(arguments: ["", taps]) func profilesAreWhatTheyWouldBe(_ taps: String) throws {
    let rows = try Server.plan(readConfiguration("limits: {profile: house}\n" + taps)).profiles
    #expect(rows.map { $0.profile } == [.board, .house, .site])
    #expect(rows.map { $0.isUsed } == [false, true, false])
    for row in rows {
      let name = try #require(row.profile).name
      let plan = try Server.plan(readConfiguration("limits: {profile: \(name)}\n" + taps))
      #expect(row.byteCount == plan.byteCount)
      #expect(row.totalBytes == plan.byteCount + plan.kernelSocketBytes)
    }
    #expect(rows[0].byteCount < rows[1].byteCount && rows[1].byteCount < rows[2].byteCount)
  }

  @Test func whatIsNamedHasItsOwnRow() throws {
    let plan = try Server.plan(readConfiguration("limits: {connections: 70}"))
    #expect(plan.profiles.map { $0.profile } == [.board, .house, .site, nil])
    #expect(plan.profiles[3].byteCount == plan.byteCount)
    let table = string(plan.table(MemoryBudget(availableBytes: nil, controlGroupBytes: nil)).bytes)
    let lines = table.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(
      lines.contains([
        "this", "file", "70", "134", "1536", "65536", "\(plan.byteCount)", "\(plan.profiles[3].totalBytes)",
      ]))
    #expect(lines.contains { $0.starts(with: ["board", "*", "64", "128", "1536", "65536"]) })
    #expect(lines.contains { $0.starts(with: ["house", "96", "192", "4096", "1048576"]) })
  }

  // MARK: A budget

  private static let clients = [1, 2, 7, 16, 60, 64, 200, 1000, 5000, 65_536]
  private static let budgets = (0...60).map { 600_000 << ($0 / 3) + 177_777 * ($0 % 3) }

  /// Whatever is proposed can be pasted, is accepted, and is within the budget.
  @Test(arguments: clients) func proposalsFit(_ clients: Int) throws {
    let none = try readConfiguration("")
    var retained = 0
    for budget in Self.budgets {
      switch PlanBudget(budget, clients: clients, none) {
      case .fits(let text):
        let pasted = try readConfiguration(string(text.bytes))
        #expect(Server.plan(pasted).totalBytes <= budget)
        let limits = pasted.limits
        // Two places are kept for who has no address.
        #expect(limits.connectionsMax == min(clients + 2, 65_536) && limits.sessionsMax == 2 * clients + 2)
        #expect(limits.connectionsPerAddressMax == clients)
        // A larger budget brings no less.
        #expect(pasted.limits.retainedMax >= retained)
        retained = pasted.limits.retainedMax
      case .needs(let least):
        #expect(least > budget)
        #expect(retained == 0)
        guard case .fits(let text) = PlanBudget(least, clients: clients, none) else {
          Issue.record("\(least) would not do")
          continue
        }
        #expect(try Server.plan(readConfiguration(string(text.bytes))).totalBytes == least)
      }
    }
    #expect(retained > 0)
  }

  @Test func proposalsHaveRoomForTheTaps() throws {
    let file = try readConfiguration(Self.taps)
    guard case .fits(let text) = PlanBudget(16 << 20, clients: 20, file) else {
      Issue.record("nothing fits")
      return
    }
    let pasted = try readConfiguration(string(text.bytes) + Self.taps)
    #expect(Server.plan(pasted).totalBytes <= 16 << 20)
    #expect(pasted.limits.retainedMax > 200 && pasted.limits.tapsMax == 233)
  }

  @Test func theComplaintNamesTheLeast() {
    let text = PlanBudget.complaint(1 << 20, clients: 64, needs: 10_000_001)
    #expect(
      string(text.bytes) == "tapline plan: 1.0 MiB is too little for 64 clients; the smallest that would do is 9766k\n")
  }
}
