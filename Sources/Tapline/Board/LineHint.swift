import Bounded
import TaplineConfiguration

/// Which line of config.txt, or which program, probably holds a line: what people would have to look up.
enum LineHint {
  /// By the name that the holder gave, as kernels of Raspberry Pi OS and Debian give it; nil for an unknown one.
  static func of(consumer: Bytes) -> StaticString? {
    for (start, hint) in consumers where consumer.hasPrefix(Bytes(start)) { return hint }
    return nil
  }

  /// For a holder without a name: what a header's line usually is when its pin is not a GPIO.
  static func of(headerLine name: [UInt8]) -> StaticString? {
    guard name.starts(with: [UInt8](ascii: "GPIO")), let number = Values.integer([UInt8](name[4...])) else {
      return nil
    }
    switch number {
    case 0, 1: return "HAT EEPROM"
    case 2, 3: return "dtparam=i2c_arm=on"
    case 7...11: return "dtparam=spi=on"
    case 14, 15: return "enable_uart=1"
    case 18...21: return "dtparam=i2s=on"
    default: return nil
    }
  }

  private static var consumers: [(StaticString, StaticString)] {
    [
      ("spi0", "dtparam=spi=on"), ("spi1", "dtoverlay=spi1-*"), ("spi", "dtoverlay=spiN-*"),
      ("onewire", "dtoverlay=w1-gpio"), ("w1", "dtoverlay=w1-gpio"), ("dht11", "dtoverlay=dht11"),
      ("gpio-fan", "dtoverlay=gpio-fan"), ("rotary", "dtoverlay=rotary-encoder"), ("i2c", "dtoverlay=i2c-gpio"),
      ("button@", "dtoverlay=gpio-key"), ("gpio-keys", "dtoverlay=gpio-key"), ("gpio_keys", "dtoverlay=gpio-key"),
      ("shutdown_button", "dtoverlay=gpio-shutdown"), ("power_ctrl", "dtoverlay=gpio-poweroff"),
      ("poweroff", "dtoverlay=gpio-poweroff"), ("ir-receiver", "dtoverlay=gpio-ir"),
      ("gpio-ir-tx", "dtoverlay=gpio-ir-tx"), ("pps", "dtoverlay=pps-gpio"), ("hx711", "dtoverlay=hx711"),
      ("pwm", "dtoverlay=pwm-gpio"), ("srf04", "dtoverlay of srf04"), ("mcp2", "dtoverlay=mcp23017"),
      ("can", "dtoverlay=mcp2515-can0"), ("ACT", "the board's LED; see taps.leds"),
      ("PWR", "the board's LED; see taps.leds"), ("led", "dtoverlay=gpio-led; see taps.leds"),
      ("sysfs", "/sys/class/gpio/unexport"), ("gpio", "a tool of libgpiod"),
      ("lg", "a program with lgpio"),
    ]
  }
}
