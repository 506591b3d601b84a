import Bounded
import LinuxIO
import TaplineConfiguration
import Taps

// What the configuration says of a line, in the kernel's terms. For the daemon, and for who makes its outputs safe.

extension OutputSettings {
  /// An output without its level.
  var lineSettings: LineSettings {
    var settings = LineSettings(direction: .output)
    settings.activeLow = active == .low
    switch drive {
    case .pushPull: settings.drive = .pushPull
    case .openDrain: settings.drive = .openDrain
    case .openSource: settings.drive = .openSource
    }
    return settings
  }
}

extension LineSettings.Bias {
  init(_ bias: LineBias) {
    switch bias {
    case .asIs: self = .asIs
    case .disabled: self = .disabled
    case .pullUp: self = .pullUp
    case .pullDown: self = .pullDown
    }
  }
}

extension Lines {
  func find(_ pin: LineAddress) throws(LineError) -> ChipLine {
    try pin.line.lend { name throws(LineError) in
      try pin.chip.lend { chip throws(LineError) in
        let number = Values.integer(pin.line)
        return try find(number.map { .number($0) } ?? .name(name), chip: chip.isEmpty ? nil : chip)
      }
    }
  }
}

extension LineRequest {
  static func open(
    _ line: ChipLine, _ settings: LineSettings, consumer: FixedText<80>
  ) throws(LineError) -> LineRequest {
    try consumer.withBytes { consumer throws(LineError) in
      try LineRequest.open(line, settings, consumer: consumer)
    }
  }
}

extension LineError {
  /// `line GPIO17 busy: held by spi0 CS0`, with the likely remedy where there is one.
  func write(of pin: LineAddress, into text: inout ByteWriter) {
    text.write("line ")
    pin.line.lend { text.write($0) }
    switch reason {
    case .busy:
      text.write(" busy: held by ")
      if consumer.isEmpty { text.write("an unnamed consumer") } else { consumer.write(to: &text) }
      if let hint = consumer.withBytes({ LineHint.of(consumer: $0) }) {
        text.write(" (")
        text.write(hint)
        text.write(")")
      }
    case .notFound:
      text.write(" not found; see tapline lines")
    case .noChip:
      text.write(": no such GPIO chip")
      if !pin.chip.isEmpty {
        text.write(" ")
        pin.chip.lend { text.write($0) }
      }
    case .ambiguous:
      text.write(" is on several chips; give chip too")
    case .denied:
      text.write(": permission denied; is the user in group gpio?")
    case .failed:
      text.write(": ")
      text.write(error.text)
    }
  }
}
