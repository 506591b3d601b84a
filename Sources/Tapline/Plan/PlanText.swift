import Bounded
import LinuxIO
public import TaplineConfiguration

/// What the machine has for a plan, in bytes; nil where the kernel does not say, or sets no limit.
public struct MemoryBudget: Sendable {
  /// MemAvailable of /proc/meminfo.
  public var availableBytes: Int?
  /// The least memory.max of the process's control group and those above it.
  public var controlGroupBytes: Int?

  public init(availableBytes: Int?, controlGroupBytes: Int?) {
    self.availableBytes = availableBytes
    self.controlGroupBytes = controlGroupBytes
  }

  /// This machine, now.
  public static var now: MemoryBudget {
    MemoryBudget(
      availableBytes: SystemMemory.availableBytes().map { Int(clamping: $0) },
      controlGroupBytes: SystemMemory.controlGroupBytes().map { Int(clamping: $0) })
  }
}

extension Plan {
  public func fits(_ budget: MemoryBudget) -> Bool {
    totalBytes <= budget.availableBytes ?? .max && totalBytes <= budget.controlGroupBytes ?? .max
  }

  /// A table for people, one pool a line.
  public func table(_ budget: MemoryBudget) -> Text {
    var text = Text()
    text.add("POOL", width: Plan.nameWidth)
    text.add("      ENTRIES   BYTES EACH          BYTES\n")
    for row in rows where row.byteCount > 0 {
      text.add(row.name, width: Plan.nameWidth)
      text.add(row.entryCount, width: 13)
      text.add(row.entryBytes, width: 13)
      text.add(row.byteCount, width: 15)
      text.endLine()
    }
    Plan.add(&text, "the loop's memory", byteCount)
    Plan.add(&text, "threads' stacks", threadStackBytes)
    Plan.add(&text, "kernel socket buffers, at most", kernelSocketBytes)
    if kernelEdgeBytes > 0 { Plan.add(&text, "kernel queues of edges", kernelEdgeBytes) }
    Plan.add(&text, "total", totalBytes)
    addTaps(to: &text)
    addCosts(to: &text)
    addProfiles(to: &text)
    text.endLine()
    Plan.add(&text, "memory available (MemAvailable)", budget.availableBytes)
    Plan.add(&text, "control group's limit", budget.controlGroupBytes)
    text.add(fits(budget) ? "fits\n" : "DOES NOT FIT\n")
    return text
  }

  /// The same as one JSON object on one line; null for what is unknown or without a limit.
  public func json(_ budget: MemoryBudget) -> Text {
    var text = Text("{\"pools\":[")
    var isFirst = true
    for row in rows where row.byteCount > 0 {
      text.add(isFirst ? "{\"name\":\"" : ",{\"name\":\"")
      isFirst = false
      text.add(row.name)
      text.add("\",\"entries\":")
      text.add(row.entryCount)
      text.add(",\"entry_bytes\":")
      text.add(row.entryBytes)
      text.add(",\"bytes\":")
      text.add(row.byteCount)
      text.add("}")
    }
    text.add("]")
    addTaps(json: &text)
    addCosts(json: &text)
    addProfiles(json: &text)
    Plan.add(&text, json: "loop_bytes", byteCount)
    Plan.add(&text, json: "thread_stack_bytes", threadStackBytes)
    Plan.add(&text, json: "kernel_socket_bytes", kernelSocketBytes)
    Plan.add(&text, json: "kernel_edge_bytes", kernelEdgeBytes)
    Plan.add(&text, json: "total_bytes", totalBytes)
    Plan.add(&text, json: "available_bytes", budget.availableBytes)
    Plan.add(&text, json: "cgroup_bytes", budget.controlGroupBytes)
    text.add(fits(budget) ? ",\"fits\":true}\n" : ",\"fits\":false}\n")
    return text
  }

  private static var nameWidth: Int { 32 }

  private static func add(_ text: inout Text, _ name: StaticString, _ byteCount: Int?) {
    text.add(name, width: nameWidth)
    guard let byteCount else {
      text.pad(37)
      text.add("none\n")
      return
    }
    text.add(byteCount, width: 41)
    text.add("  ")
    text.add(mebibytes: byteCount)
    text.endLine()
  }

  private static func add(_ text: inout Text, json name: StaticString, _ byteCount: Int?) {
    text.add(",\"")
    text.add(name)
    text.add("\":")
    if let byteCount { text.add(byteCount) } else { text.add("null") }
  }
}

extension Text {
  /// `1.9 MiB`: one decimal, rounded up.
  public mutating func add(mebibytes byteCount: Int) {
    let mebibyte = 1 << 20
    // Divided first: a limit may be near the largest number.
    let tenths = byteCount / mebibyte * 10 + (byteCount % mebibyte * 10 + mebibyte - 1) / mebibyte
    add(tenths / 10)
    add(".")
    add(tenths % 10)
    add(" MiB")
  }
}
