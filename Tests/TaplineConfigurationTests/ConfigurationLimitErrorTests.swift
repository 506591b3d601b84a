import Foundation
import Testing

@Suite("Wrong limits are told with the numbers that would do")
struct ConfigurationLimitErrorTests {
  static let limits = [
    WrongCase(
      "limits: {conections: 10}", "t.yaml:1:10: unknown key 'conections' in limits; did you mean 'connections'?"),
    WrongCase(
      "limits: {inflight: 0}", "t.yaml:1:20: 'inflight' is '0'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {inflight: many}", "t.yaml:1:20: 'inflight' is 'many'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {inflight: -1}", "t.yaml:1:20: 'inflight' is '-1'; expected a number from 1 to 65535"),
    WrongCase(
      "limits: {packet_bytes: 64x}",
      "t.yaml:1:24: 'packet_bytes' is '64x'; expected bytes such as 4096, 64k or 1M, from 1024 to 134217728"),
    WrongCase(
      "limits: {connect_seconds: 500ms}",
      "t.yaml:1:27: 'connect_seconds' is '500ms'; expected seconds such as 10, 10s, 5m or 7d, from 1 to 3600"),
    WrongCase(
      "limits:\n  connections: 64\n  sessions: 32",
      "t.yaml:3:3: limits: sessions is 32; expected at least 64: as many as connections"),
    WrongCase(
      "limits:\n  connections: 8\n  pending_connections: 9",
      "t.yaml:3:3: limits: pending_connections is 9; expected at most 8: as many as connections"),
    WrongCase(
      "limits:\n  retained: 50\n  messages: 49",
      "t.yaml:3:3: limits: messages is 49; expected at least 50: as many as retained"),
  ]

  @Test(arguments: limits) func isTold(_ wrong: WrongCase) {
    #expect(errorLines([UInt8](wrong.yaml.utf8)) == wrong.errors)
  }
}
