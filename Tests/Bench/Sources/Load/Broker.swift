import CBench
import Glibc

/// The broker under load, started by us so that it dies with us.
final class Broker {
  let pid: Int32
  let port: Int32
  let cpu: Int32
  /// From its start to its first CONNACK.
  let startNanoseconds: UInt64

  init(_ command: [String], port: Int32, cpu: Int32, log: String) {
    var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    arguments.append(nil)
    let began = cbench_now()
    pid = cbench_spawn(&arguments, cpu, log)
    guard pid > 0 else { fail("cannot start \(command[0])") }
    self.port = port
    self.cpu = cpu
    while true {
      if Broker.answers(port) { break }
      if cbench_has_ended(pid) != 0 { fail("the broker has ended, see \(log)") }
      if cbench_now() - began > 60_000_000_000 { fail("no CONNACK within 60 s of the start, see \(log)") }
      usleep(100)
    }
    startNanoseconds = cbench_now() - began
  }

  private static func answers(_ port: Int32) -> Bool {
    let fd = cbench_connect(port)
    guard fd >= 0 else { return false }
    defer { cbench_close(fd) }
    let packet = Packets.connect("first")
    var answer = [UInt8](repeating: 0, count: 16)
    guard cbench_write(fd, packet, Int64(packet.count)) == packet.count else { return false }
    let end = cbench_now() + 1_000_000_000
    while cbench_now() < end {
      let got = cbench_read(fd, &answer, 16)
      if got > 0 { return answer[0] == 0x20 }
      if got != -11 { return false }
      usleep(50)
    }
    return false
  }

  /// Nanoseconds of processor time, all threads.
  var cpuNanoseconds: UInt64 { cbench_cpu(pid) }

  /// Resident memory, and what of it is not backed by a file, in KiB.
  var memory: (rss: Int, anonymous: Int) {
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = Int(cbench_file("/proc/\(pid)/status", &bytes, 8191))
    let text = String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
    func field(_ name: String) -> Int {
      for line in text.split(separator: "\n") where line.hasPrefix(name + ":") {
        return Int(line.filter(\.isNumber)) ?? 0
      }
      return 0
    }
    return (field("VmRSS"), field("RssAnon"))
  }

  func stop() {
    cbench_stop(pid)
  }
}

nonisolated(unsafe) var runningBroker: Broker?

func exitNow(_ status: Int32) -> Never { exit(status) }
