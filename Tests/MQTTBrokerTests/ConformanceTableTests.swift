import Foundation
import Testing

/// docs/conformance.md is complete, and what it names exists.
@Suite struct ConformanceTableTests {
  struct Row {
    let id: String
    let cells: [String]
  }

  /// Statements by section: the last number, all from 1 on. Of MQTT 5.0 there is no 2.2.1-1.
  static let v5: [(section: String, last: Int)] = [
    ("1.5.4", 3), ("1.5.5", 1), ("1.5.7", 1), ("2.1.3", 1), ("2.2.1", 6), ("2.2.2", 1), ("3.1.0", 2), ("3.1.2", 30),
    ("3.1.3", 12), ("3.1.4", 6), ("3.2.0", 2), ("3.2.2", 22), ("3.3.1", 13), ("3.3.2", 20), ("3.3.4", 10), ("3.4.2", 3),
    ("3.5.2", 3), ("3.6.1", 1), ("3.6.2", 3), ("3.7.2", 3), ("3.8.1", 1), ("3.8.3", 5), ("3.8.4", 8), ("3.9.2", 2),
    ("3.9.3", 2), ("3.10.1", 1), ("3.10.3", 2), ("3.10.4", 6), ("3.11.2", 2), ("3.11.3", 2), ("3.12.4", 1),
    ("3.14.0", 1), ("3.14.1", 1), ("3.14.2", 4), ("3.14.4", 3), ("3.15.1", 1), ("3.15.2", 3), ("4.1.0", 2),
    ("4.2.0", 1), ("4.3.1", 1), ("4.3.2", 5), ("4.3.3", 13), ("4.4.0", 2), ("4.5.0", 2), ("4.6.0", 6), ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1), ("4.7.3", 4), ("4.8.2", 6), ("4.9.0", 3), ("4.12.0", 7), ("4.12.1", 2), ("4.13.1", 1), ("4.13.2", 1),
    ("6.0.0", 4),
  ]

  static let v311: [(section: String, last: Int)] = [
    ("1.5.3", 3), ("2.2.2", 2), ("2.3.1", 7), ("3.1.0", 2), ("3.1.2", 24), ("3.1.3", 11), ("3.1.4", 5), ("3.2.0", 1),
    ("3.2.2", 6), ("3.3.1", 12), ("3.3.2", 3), ("3.3.4", 1), ("3.3.5", 2), ("3.6.1", 1), ("3.8.1", 1), ("3.8.3", 4),
    ("3.8.4", 6), ("3.9.3", 2), ("3.10.1", 1), ("3.10.3", 2), ("3.10.4", 6), ("3.12.4", 1), ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2), ("4.3.1", 1), ("4.3.2", 2), ("4.3.3", 2), ("4.4.0", 1), ("4.5.0", 2), ("4.6.0", 6), ("4.7.1", 3),
    ("4.7.2", 1), ("4.7.3", 4), ("4.8.0", 2), ("6.0.0", 4), ("7.0.0", 2), ("7.1.1", 1), ("7.1.2", 1),
  ]

  static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// The rows under the heading `## title`.
  private static func rows(_ title: String) throws -> [Row] {
    let text = try String(contentsOf: root.appendingPathComponent("docs/conformance.md"), encoding: .utf8)
    var isInside = false
    var rows: [Row] = []
    for line in text.split(separator: "\n") {
      if line.hasPrefix("## ") { isInside = line == "## \(title)" }
      guard isInside, line.hasPrefix("| MQTT-") || line.hasPrefix("| ATTACK-") else { continue }
      let cells = line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
        .map { $0.trimmingCharacters(in: .whitespaces) }
      rows.append(Row(id: cells[0], cells: cells))
    }
    return rows
  }

  private static func allRows() throws -> [Row] { try rows("MQTT 5.0") + rows("MQTT 3.1.1") }

  @Test func everyStatementHasItsRow() throws {
    func ids(_ sections: [(section: String, last: Int)]) -> [String] {
      sections.flatMap { section, last in (1...last).map { "MQTT-\(section)-\($0)" } }
    }
    let v5 = ids(ConformanceTableTests.v5).filter { $0 != "MQTT-2.2.1-1" }
    #expect(try ConformanceTableTests.rows("MQTT 5.0").map(\.id) == v5)
    #expect(try ConformanceTableTests.rows("MQTT 3.1.1").map(\.id) == ids(ConformanceTableTests.v311))
  }

  @Test func noRowIsEmpty() throws {
    for row in try ConformanceTableTests.allRows() {
      #expect(row.cells.count == 4, "\(row.id)")
      #expect(row.cells.allSatisfy { !$0.isEmpty }, "\(row.id)")
      #expect(["client", "server", "both"].contains(row.cells[2]), "\(row.id)")
      let shownBy = row.cells[3]
      let isReason = shownBy.hasPrefix("client only: ") || shownBy.hasPrefix("not applicable: ")
      #expect(isReason || shownBy.contains("`"), "\(row.id) is shown by nothing")
      #expect(row.cells[2] != "server" || !shownBy.hasPrefix("client only"), "\(row.id)")
    }
  }

  /// `Suite.function` is a function of a suite's file.
  @Test func everyTestThatIsNamedExists() throws {
    var functions: [String: Set<String>] = [:]
    let tests = ConformanceTableTests.root.appendingPathComponent("Tests")
    let names = try #require(FileManager.default.enumerator(atPath: tests.path)).compactMap { $0 as? String }
    for name in names where name.hasSuffix("Tests.swift") {
      let suite = name.split(separator: "/").last!.dropLast(".swift".count)
      let source = try String(contentsOf: tests.appendingPathComponent(name), encoding: .utf8)
      guard source.contains("@Test") else { continue }
      for line in source.split(separator: "\n") {
        let words = line.split { $0 == " " || $0 == "(" }
        guard let position = words.firstIndex(of: "func"), position + 1 < words.count else { continue }
        functions[String(suite), default: []].insert(String(words[position + 1]))
      }
    }
    var count = 0
    let attacks = try ConformanceTableTests.rows("Known attacks")
    #expect(attacks.count == 15)
    for row in try ConformanceTableTests.allRows() + attacks {
      for (index, name) in row.cells.last!.split(separator: "`", omittingEmptySubsequences: false).enumerated()
      where index % 2 == 1 {
        let parts = name.split(separator: ".")
        #expect(parts.count == 2, "\(row.id): \(name)")
        guard parts.count == 2 else { continue }
        let isThere = functions[String(parts[0])]?.contains(String(parts[1])) == true
        #expect(isThere, "\(row.id): no \(name)")
        count += 1
      }
    }
    #expect(count > 420)
  }
}
