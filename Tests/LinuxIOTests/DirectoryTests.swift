import Bounded
import Foundation
import Testing

@testable import LinuxIO

@Suite("Entries of folders, links and numbers in the kernel's texts") struct DirectoryTests {
  private let directory = TemporaryDirectory()

  private func lowest(prefix: String, wanted: (String) -> Bool = { _ in true }) -> String? {
    withBytes(directory.path) { folder in
      withBytes(prefix) { prefix in Directory.lowest(in: folder, prefix: prefix) { wanted(text($0)) } }
    }.map { text($0) }
  }

  @Test func theEntryWithTheLowestNumber() {
    for name in ["hwmon10", "hwmon9", "hwmon", "cooling0", "hwmon2x", String(repeating: "hwmon", count: 13) + "1"] {
      directory.file(name, "")
    }
    #expect(lowest(prefix: "hwmon") == "hwmon9")
    #expect(lowest(prefix: "hwmon") { $0 != "hwmon9" } == "hwmon10")
    #expect(lowest(prefix: "hwmon") { !$0.hasSuffix("9") && !$0.hasSuffix("0") }?.contains(/\d$/) == false)
    #expect(lowest(prefix: "") == "cooling0")
    #expect(lowest(prefix: "iio") == nil)
    #expect(withBytes(directory.path + "/none") { Directory.lowest(in: $0, prefix: .empty) { _ in true } } == nil)
  }

  @Test(arguments: [
    ("bme280@76", "bme280@76", true), ("../../soc/bme280@76", "bme280@76", true), ("../x/soc/i2c", "soc/i2c", true),
    ("../../soc/xbme280@76", "bme280@76", false), ("../../soc/bme280@76/", "bme280@76", false), ("a", "longer", false),
  ])
  func whereALinkLeads(target: String, name: String, leads: Bool) throws {
    let link = directory.path + "/link"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
    #expect(withBytes(link) { link in withBytes(name) { Directory.isLink(link, to: $0) } } == leads)
    directory.file("plain", "")
    #expect(withBytes(directory.path + "/plain") { plain in withBytes(name) { !Directory.isLink(plain, to: $0) } })
  }

  @Test(
    arguments: [
      ("", nil, nil, nil), ("x", nil, nil, nil), ("7", 7, 7, 7), ("007\n", 7, nil, nil), ("hwmon12", nil, nil, 12),
      ("-5", nil, nil, 5), ("9223372036854775807", Int64.max, .max, .max), ("9223372036854775808", .max, .max, .max),
      ("99999999999999999999999 ", .max, nil, nil), ("12 34", 12, nil, 34),
    ] as [(String, Int64?, Int64?, Int64?)])
  func decimals(content: String, leading: Int64?, whole: Int64?, trailing: Int64?) {
    withBytes(content) { bytes in
      #expect(bytes.leadingDecimal == leading)
      #expect(bytes.wholeDecimal == whole)
      #expect(bytes.trailingDecimal == trailing)
    }
  }
}
