import Bounded
import Glibc
import Testing

@testable import LinuxIO

@Suite struct LineTests {
  let chip = SimulatedChip()
  let buffer: EdgeBuffer

  init() throws { buffer = try EdgeBuffer(capacity: 64) }

  func open(_ pin: String, _ settings: LineSettings, on chip: SimulatedChip? = nil) throws -> LineRequest {
    let lines = Lines(simulated: chip ?? self.chip)
    return try LineRequest.open(
      try withBytes(pin) { try lines.find(.name($0)) }, settings, consumer: Bytes("tapline:test"))
  }

  func input(edges: LineSettings.Edges = .both, activeLow: Bool = false, bias: LineSettings.Bias = .pullDown)
    -> LineSettings
  {
    var settings = LineSettings(direction: .input)
    settings.edges = edges
    settings.activeLow = activeLow
    settings.bias = bias
    return settings
  }

  func output(initialActive: Bool = false, activeLow: Bool = false) -> LineSettings {
    var settings = LineSettings(direction: .output)
    settings.initialActive = initialActive
    settings.activeLow = activeLow
    return settings
  }

  /// The directions of the edges taken by one read.
  func edges(_ line: LineRequest) throws -> [Bool] {
    let count = try line.readEdges(into: buffer)
    return (0..<count).map { buffer[$0].rising }
  }

  @Test(arguments: [(false, false, false), (false, true, true), (true, false, true), (true, true, false)])
  func anOutputHasItsInitialLevelAtOnce(activeLow: Bool, initial: Bool, high: Bool) throws {
    let line = try open("GPIO17", output(initialActive: initial, activeLow: activeLow))
    #expect(chip.isHigh(17) == high && line.get() == initial)
    try line.set(!initial)
    #expect(chip.isHigh(17) == !high && line.get() == !initial)
    #expect(line.fd == -1)
    line.close()
    #expect(chip.isHigh(17) == !high)  // keeps its level when released
  }

  /// As whoever had the line before left it, or as something outside drives it.
  @Test(arguments: [(false, false), (false, true), (true, false), (true, true)])
  func anOutputCanKeepTheLevel(activeLow: Bool, level: Bool) throws {
    let before = try open("GPIO17", output(initialActive: level, activeLow: activeLow))
    before.close()
    var keeps = output(initialActive: !level, activeLow: activeLow)
    keeps.keepsLevel = true
    let line = try open("GPIO17", keeps)
    #expect(line.get() == level && chip.isHigh(17) == (level != activeLow))
    try line.set(!level)
    #expect(line.get() == !level)
    line.close()
    chip.drive(6, high: level)
    let driven = try open("GPIO6", keeps)
    #expect(chip.isHigh(6) == level)
    driven.close()
  }

  @Test func anInputIsNotDriven() throws {
    let line = try open("GPIO5", input())
    #expect(errno { try line.set(true) } == EPERM)
    line.close()
  }

  @Test func edgesWakeThePollerWithTimesAndNumbers() throws {
    let line = try open("GPIO5", input())
    let poller = try Poller(eventsMax: 4)
    try poller.add(line.fd, token: 5, interest: .read)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    let before = Clock.monotonicNanoseconds()
    chip.drive(5, high: true)
    chip.drive(5, high: true)  // no change, no edge
    chip.drive(5, high: false)
    #expect(poller.wait(timeoutMilliseconds: 0) == 1 && poller.event(0).token == 5)
    #expect(try line.readEdges(into: buffer) == 2)
    #expect(buffer[0].rising && !buffer[1].rising)
    #expect(buffer[0].sequence == 1 && buffer[1].sequence == 2)
    #expect(
      buffer[0].timestampNanoseconds >= before && buffer[1].timestampNanoseconds >= buffer[0].timestampNanoseconds)
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    #expect(try line.readEdges(into: buffer) == 0)
    line.close()
  }

  @Test func whatABufferDoesNotHoldKeepsTheLineReadable() throws {
    let small = try EdgeBuffer(capacity: 1)
    let line = try open("GPIO5", input())
    let poller = try Poller(eventsMax: 4)
    try poller.add(line.fd, token: 5, interest: .read)
    chip.drive(5, high: true, at: 10)
    chip.drive(5, high: false, at: 20)
    for time in [Int64(10), 20] {
      #expect(poller.wait(timeoutMilliseconds: 0) == 1)
      #expect(try line.readEdges(into: small) == 1)
      #expect(small[0].timestampNanoseconds == time)
    }
    #expect(poller.wait(timeoutMilliseconds: 0) == 0)
    line.close()
  }

  @Test(arguments: [(LineSettings.Edges.rising, [true]), (.falling, [false]), (.both, [true, false]), (.none, [])])
  func onlyTheEdgesAskedForCome(edges: LineSettings.Edges, expected: [Bool]) throws {
    for activeLow in [false, true] {
      let line = try open("GPIO6", input(edges: edges, activeLow: activeLow, bias: activeLow ? .pullUp : .pullDown))
      #expect(line.get() == false)
      chip.setActive(6, true)
      #expect(line.get() == true)
      chip.setActive(6, false)
      if edges != .none { #expect(try self.edges(line) == expected) } else { #expect(line.fd == -1) }
      line.close()
      chip.letGo(6)
    }
  }

  @Test func biasDecidesWhatNobodyDrives() throws {
    for (bias, high) in [(LineSettings.Bias.pullUp, true), (.pullDown, false)] {
      let line = try open("GPIO7", input(bias: bias))
      #expect(line.get() == high)
      chip.drive(7, high: !high)
      chip.letGo(7)
      #expect(line.get() == high)
      #expect(try edges(line) == [!high, high])
      line.close()
    }
  }

  /// As gpiolib-cdev does: a full queue loses its oldest edge, whose number is then missing.
  @Test func aFullQueueDropsTheOldestAndTheNumbersTell() throws {
    let line = try open("GPIO8", input())
    for index in 0..<100 { chip.drive(8, high: index % 2 == 0, at: Int64(index)) }
    #expect(try line.readEdges(into: buffer) == 64)
    #expect(buffer[0].sequence == 37 && buffer[63].sequence == 100)
    #expect(buffer[0].timestampNanoseconds == 36)
    line.close()
  }

  @Test func withoutSequenceNumbersTheyAreZero() throws {
    let old = SimulatedChip(capabilities: [])
    let line = try open("GPIO5", input(), on: old)
    old.drive(5, high: true)
    #expect(try line.readEdges(into: buffer) == 1)
    #expect(buffer[0].sequence == 0 && line.capabilities == [])
    line.close()
  }

  @Test func kernelDebounceIsRefusedWhereThereIsNone() throws {
    var settings = input()
    settings.debounceMicroseconds = 5000
    #expect { try open("GPIO5", settings) } throws: { ($0 as! LineError).error.errno == EOPNOTSUPP }
    let line = try open("GPIO5", settings, on: SimulatedChip(capabilities: [.kernelDebounce]))
    line.close()
  }

  @Test func aLineIsHeldOnceAndItsHolderIsNamed() throws {
    let line = try open("GPIO9", input())
    for _ in 0..<2 {
      #expect { try open("GPIO9", output()) } throws: {
        let error = $0 as! LineError
        return error.reason == .busy && error.error.errno == EBUSY && text(error.consumer) == "tapline:test"
      }
    }
    line.close()
    try open("GPIO9", output()).close()
    chip.hold(9, consumer: Bytes("spi0 CS0"))
    #expect { try open("GPIO9", input()) } throws: { text(($0 as! LineError).consumer) == "spi0 CS0" }
    chip.unhold(9)
    try open("GPIO9", input()).close()
  }

  @Test func linesAndChipsAreListed() throws {
    let lines = Lines(simulated: chip)
    let relay = try open("GPIO17", output(activeLow: true))
    var chips: [ChipInfo] = []
    try lines.forEachChip { chips.append($0) }
    #expect(chips.count == 1 && text(chips[0].label) == "simulated" && chips[0].lineCount == 28)
    var all: [LineInfo] = []
    try lines.forEachLine(of: chips[0]) { all.append($0) }
    #expect(all.map { text($0.name) } == (0..<28).map { "GPIO\($0)" })
    #expect(all[17].isUsed && all[17].isOutput && all[17].isActiveLow && text(all[17].consumer) == "tapline:test")
    #expect(!all[16].isUsed && all[16].consumer.isEmpty)
    relay.close()
  }

  @Test func linesAreFoundByNameNumberAndOffset() throws {
    let lines = Lines(simulated: chip)
    #expect(try lines.find(.name(Bytes("GPIO27"))).offset == 27)
    #expect(try lines.find(.number(17)).offset == 17)
    #expect(try lines.find(.number(3), chip: Bytes("simulated")).offset == 3)
    #expect(try lines.find(.name(Bytes("GPIO4")), chip: Bytes("simulated")).offset == 4)
    #expect(written { try! lines.find(.number(17)).write(to: &$0) } == "simulated line 17")
  }

  @Test func linesThatAreNotThereAreNotFound() {
    let lines = Lines(simulated: chip)
    func reason(_ selector: LineSelector, chip: Bytes? = nil) -> LineError.Reason? {
      do throws(LineError) { _ = try lines.find(selector, chip: chip) } catch { return error.reason }
      return nil
    }
    for name in ["GPIO28", "gpio17", "GPIO", "", "GPIO017", "GPIO1 "] {
      #expect(withBytes(name) { reason(.name($0)) } == .notFound)
    }
    #expect(withBytes(String(repeating: "G", count: 40)) { reason(.name($0)) } == .notFound)
    for number in [-1, 28, Int.max] { #expect(reason(.number(number)) == .notFound) }
    #expect(reason(.number(-1), chip: Bytes("simulated")) == .notFound)
    #expect(reason(.number(1), chip: Bytes("pinctrl-rp1")) == .noChip)
  }

  /// Seeded: what is read is what was driven, in order, whatever the sizes of the reads.
  @Test(arguments: [1, 2, 3, 64])
  func edgesMatchAModel(capacity: Int) throws {
    var random = UInt64(capacity) &* 0x9E37_79B9_7F4A_7C15
    func next(_ below: Int) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((random >> 33) % UInt64(below))
    }
    let buffer = try EdgeBuffer(capacity: capacity)
    let line = try open("GPIO12", input())
    var model: [(time: Int64, rising: Bool, sequence: UInt32)] = []
    var level = false
    var sequence: UInt32 = 0
    for time in 0..<20_000 {
      if next(3) != 0 {
        let high = next(2) == 0
        chip.drive(12, high: high, at: Int64(time))
        if high != level {
          level = high
          sequence += 1
          model.append((Int64(time), high, sequence))
          if model.count > 64 { model.removeFirst() }
        }
      } else {
        let count = try line.readEdges(into: buffer)
        #expect(count == min(capacity, model.count))
        for index in 0..<count {
          let expected = model.removeFirst()
          let edge = buffer[index]
          #expect(
            edge.timestampNanoseconds == expected.time && edge.rising == expected.rising
              && edge.sequence == expected.sequence)
        }
      }
    }
    line.close()
  }

  /// With or without GPIO on this machine: an answer.
  @Test func theKernelsChipsAnswer() {
    let lines = Lines()
    for _ in 0..<3 {
      try? lines.forEachChip { chip in try? lines.forEachLine(of: chip) { _ in } }
      _ = try? lines.find(.name(Bytes("no line has this name")))
      #expect(throws: LineError.self) { try lines.find(.number(0), chip: Bytes("/dev/null")) }
      #expect(throws: LineError.self) { try lines.find(.number(0), chip: Bytes("no chip has this label")) }
    }
  }
}
