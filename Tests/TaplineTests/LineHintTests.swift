import Bounded
import Testing

@testable import Tapline

/// Pain 15: a busy line, and no clue why.
@Suite("What probably holds a line")
struct LineHintTests {
  /// Names as `gpioinfo` shows them on Raspberry Pi OS.
  @Test(arguments: [
    ("spi0 CS0", "dtparam=spi=on"), ("spi1 CS2", "dtoverlay=spi1-*"), ("onewire@4", "dtoverlay=w1-gpio"),
    ("dht11@4", "dtoverlay=dht11"), ("gpio-fan", "dtoverlay=gpio-fan"), ("rotary@17", "dtoverlay=rotary-encoder"),
    ("sysfs", "/sys/class/gpio/unexport"), ("ACT", "the board's LED; see taps.leds"),
    ("gpioset", "a tool of libgpiod"), ("lg", "a program with lgpio"),
  ])
  func pain15BusyLineNamesItsOverlay(_ consumer: String, _ hint: String) {
    let found = [UInt8](consumer.utf8).withUnsafeBytes { LineHint.of(consumer: Bytes($0)) }
    #expect(found.map { "\($0)" } == hint)
  }

  @Test func unknownHoldersHaveNone() {
    for consumer in ["", "relay", "pump", "tapline:relay"] {
      #expect([UInt8](consumer.utf8).withUnsafeBytes { LineHint.of(consumer: Bytes($0)) } == nil)
    }
  }

  @Test func headerLines() {
    func hint(_ name: String) -> String? { LineHint.of(headerLine: [UInt8](name.utf8)).map { "\($0)" } }
    #expect(hint("GPIO2") == "dtparam=i2c_arm=on")
    #expect(hint("GPIO8") == "dtparam=spi=on")
    #expect(hint("GPIO15") == "enable_uart=1")
    #expect(hint("GPIO17") == nil)
    #expect(hint("SDA1") == nil)
    #expect(hint("GPIOx") == nil)
  }
}
